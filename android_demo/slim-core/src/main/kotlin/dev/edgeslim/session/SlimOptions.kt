package dev.edgeslim.session

import dev.edgeslim.UsageException
import dev.edgeslim.control.DeviceInfo
import dev.edgeslim.control.LatencyTable
import dev.edgeslim.control.OsInfo
import dev.edgeslim.control.Policy
import java.io.File

/**
 * How a session works.
 *
 * @property cacheDirectory where rebuilt files are kept, in a folder of their own.
 * @property spareDirectory where they go when that cannot be written; null: the system's temporary folder.
 * @property target which runtime; null: the first of those given that the bundle has something for.
 * @property variants which of the target's variants may be used, by id (`executorch-fp32-224`) or without the target
 *   (`fp32-224`); null: all.
 * @property table latencies of this bundle on this device; null: the one measured here before, else one is measured.
 * @property policy null: the bundle's own, else [Policy.BALANCED].
 * @property budgetUs time in microseconds from one frame to the next that it must fit in.
 * @property overheadUs what the app itself spends per frame in microseconds.
 * @property maxLoaded artifacts in memory; 1: no prefetch, and two while switching.
 * @property threads of the runtime; null: those of the table, else up to 4.
 * @property cacheBytes most that the cache may hold.
 * @property device the machine, as tables name it.
 * @property exitWitness how earlier processes have died; by default nothing is known, and nothing left out.
 * @property listener hears every event, on the thread where it happens; must be quick and not call the session.
 * @throws UsageException numbers out of range.
 */
public class SlimOptions
@JvmOverloads
constructor(
    public val cacheDirectory: File,
    public val spareDirectory: File? = null,
    public val target: String? = null,
    public val variants: List<String>? = null,
    public val table: LatencyTable? = null,
    public val policy: Policy? = null,
    public val budgetUs: Long = 33_333,
    public val overheadUs: Long = 0,
    public val maxLoaded: Int = 2,
    public val threads: Int? = null,
    public val firstUse: FirstUse = FirstUse.NOW,
    public val cacheBytes: Long = 512L shl 20,
    public val device: DeviceInfo = thisMachine(),
    public val os: OsInfo = OsInfo(property("os.name"), property("os.version"), null),
    public val exitWitness: ExitWitness = ExitWitness { _, _ -> false },
    public val clock: Clock = Clock.SYSTEM,
    public val listener: ((SessionEvent) -> Unit)? = null,
) {
    init {
        if (maxLoaded < 1) throw UsageException("maxLoaded is $maxLoaded, expected at least 1")
        if (threads != null && threads < 1) throw UsageException("threads is $threads, expected at least 1")
    }

    private companion object {
        fun property(name: String): String = System.getProperty(name) ?: "unknown"

        fun thisMachine(): DeviceInfo {
            val cores = java.lang.Runtime.getRuntime().availableProcessors().toLong()
            return DeviceInfo(null, property("os.arch"), null, cores, null, emptyList())
        }
    }
}
