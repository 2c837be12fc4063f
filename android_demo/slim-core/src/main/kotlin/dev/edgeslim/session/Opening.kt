package dev.edgeslim.session

import dev.edgeslim.HostException
import dev.edgeslim.OutputException
import dev.edgeslim.UsageException
import dev.edgeslim.control.Ladder
import dev.edgeslim.control.LatencyTable
import dev.edgeslim.control.Policy
import dev.edgeslim.control.PriorTable
import dev.edgeslim.control.SignalSource
import dev.edgeslim.control.TableException
import dev.edgeslim.format.SlimBundle
import java.io.File

/** What tests put in the place of threads. */
internal class Seams(val loader: Loader = LoadingThread, val freeBytes: (File) -> Long = File::getUsableSpace)

/**
 * From what an app says to a session that can run.
 *
 * ```
 * bundle, runtime ─► Deployment ─► Pool ◄─ caches, journal
 *                                   │
 * table given / stored / measured ──┴─► Ladder without what crashed lately
 * ```
 */
internal class Opening(
    bundle: SlimBundle,
    runtimes: List<Runtime>,
    private val options: SlimOptions,
    private val signals: SignalSource,
    private val seams: Seams,
) {
    private val runtime = runtime(bundle, runtimes)
    private val own = OwnFolder(options.cacheDirectory)
    private val spare = SpareFolder(options.spareDirectory ?: File(System.getProperty("java.io.tmpdir") ?: "/tmp"))
    private val journal = Journal(own, options.clock, options.exitWitness)
    private val threads = threads()

    val events: EventLog = EventLog(options.clock, options.listener)
    val gate: FrameGate = FrameGate(options.clock)
    val deployment: Deployment = Deployment.of(bundle, runtime.target, options.variants)
    val policy: Policy = options.policy ?: bundle.manifest.policy?.let(Policy::fromDocument) ?: Policy.BALANCED
    private val without = leftOut()
    private val store = TableStore(own, deployment, options.device, options.os, threads)
    val pool: Pool =
        Pool(
            deployment,
            runtime,
            listOf(own, spare).map {
                ArtifactCache(it, options.cacheBytes, options.clock, freeBytes = seams.freeBytes)
            },
            journal,
            threads,
            options.maxLoaded,
            gate,
            events,
            options.clock,
            seams.loader,
        )

    @Volatile
    lateinit var table: LatencyTable
        private set

    /** The ladder to begin with. */
    lateinit var ladder: Ladder
        private set

    var gaps: GapMeasurement? = null
        private set

    /** A better ladder, once the gaps have brought it. */
    @Volatile var refined: Ladder? = null

    init {
        try {
            val measured = chooseTable()
            ladder = rungs(table)
            if (measured != null) gaps = gapMeasurement(measured)
        } catch (error: Throwable) {
            pool.close()
            throw error
        }
    }

    private fun runtime(bundle: SlimBundle, runtimes: List<Runtime>): Runtime {
        val there = bundle.manifest.variants.mapTo(HashSet()) { it.target }
        return runtimes.firstOrNull { if (options.target == null) it.target in there else it.target == options.target }
            ?: throw UsageException(
                "no runtime for ${options.target ?: "what the bundle holds"}: there are ${runtimes.joinToString { it.target }}",
                hint = "the bundle has ${there.sorted().joinToString()}",
            )
    }

    /** Those of the table where it has one count only; else up to four of the machine's cores. */
    private fun threads(): Int {
        val counts = options.table?.rows?.map { it.runtime.threads }?.distinct().orEmpty()
        return options.threads
            ?: if (counts.size == 1) counts[0].toInt()
            else minOf(java.lang.Runtime.getRuntime().availableProcessors(), 4)
    }

    /** Artifacts that have crashed processes while loading; the narrowest is never among them. */
    private fun leftOut(): Map<String, String> {
        val crashed = journal.leftOut()
        val found = LinkedHashMap<String, String>()
        for (plan in deployment.plans.values.drop(1)) {
            val crashes = crashed[plan.key] ?: continue
            val reason = "loading it has crashed a process ${crashes.count} times lately"
            found[plan.artifact] = reason
            events.add(SessionEventKind.LEFT_OUT, reason, plan)
        }
        return found
    }

    private fun rungs(table: LatencyTable): Ladder = TableStore.ladder(table, deployment, threads, without)

    private fun usable(table: LatencyTable): Boolean =
        try {
            rungs(table)
            true
        } catch (_: TableException) {
            false
        }

    /** Sets the table to begin with; returns what has been measured if the rest is to be measured in the gaps. */
    private fun chooseTable(): Measurement? {
        val given = options.table
        if (given != null) {
            table = given
            return null
        }
        val stored = store.load()
        if (stored != null && usable(stored)) {
            events.add(SessionEventKind.TABLE, "the table measured here before")
            table = stored
            return null
        }
        val wanted = Measurement.candidates(deployment).filter { it !in without }
        if (options.firstUse == FirstUse.NOW || options.maxLoaded == 1) {
            table = measure(wanted).table()
            save(table)
            return null
        }
        val found = measure(listOf(wanted.first(), wanted.last()).distinct())
        table = scaledPrior(found) ?: found.table()
        return found
    }

    private fun measure(artifacts: List<String>): Measurement {
        events.add(SessionEventKind.TABLE, "measuring ${artifacts.size} artifacts on this device")
        val found = Measurement(deployment, threads, options.device, options.os, signals, options.clock)
        val blockUs = minOf(Measurement.BLOCK_US, Measurement.TOTAL_US / (2 * artifacts.size))
        for (artifact in artifacts + artifacts.reversed()) { // so that slow warming favours none
            val loaded = pool.bring(artifact) ?: continue
            try {
                found.block(loaded, blockUs)
            } catch (error: Exception) {
                pool.fail(loaded, "failed while being measured: $error")
            }
        }
        if (found.isEmpty) {
            pool.refusal?.let { throw it }
            val whys = pool.takeFailures().joinToString("; ") { (artifact, why) -> "$artifact: $why" }
            throw HostException("no artifact of the bundle can be loaded here ($whys)")
        }
        return found
    }

    private fun save(table: LatencyTable) {
        try {
            store.save(table)
        } catch (error: OutputException) {
            events.add(SessionEventKind.CACHE, "${error.message}; it will be measured again next time")
        }
    }

    /** Another device's table at this one's speed; null where there is none or it does not fit this bundle. */
    private fun scaledPrior(found: Measurement): LatencyTable? {
        val prior = store.prior() ?: return null
        val rows = found.table().rows
        return try {
            PriorTable.scaled(
                    prior,
                    rows.associate { it.artifact to it.statistics!!.p50Ms },
                    options.device,
                    options.os,
                    rows[0].runtime,
                    rows[0].startedAt,
                    deployment.target,
                )
                .takeIf(::usable)
        } catch (_: TableException) {
            null
        }
    }

    private fun gapMeasurement(found: Measurement): GapMeasurement? {
        val missing = Measurement.candidates(deployment).filter { !found.has(it) && it !in without }
        if (missing.isEmpty()) return null
        return GapMeasurement(found, pool, gate, seams.loader, missing) { measured ->
            table = measured.table()
            save(table)
            refined = rungs(table)
        }
    }
}
