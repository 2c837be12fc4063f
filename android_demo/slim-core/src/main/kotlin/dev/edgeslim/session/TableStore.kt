package dev.edgeslim.session

import dev.edgeslim.OutputException
import dev.edgeslim.control.BundleQuality
import dev.edgeslim.control.DeviceInfo
import dev.edgeslim.control.DroppedArtifact
import dev.edgeslim.control.Ladder
import dev.edgeslim.control.LadderChoice
import dev.edgeslim.control.LatencyTable
import dev.edgeslim.control.OsInfo
import dev.edgeslim.control.Reason
import dev.edgeslim.control.TableException
import dev.edgeslim.control.Worth
import dev.edgeslim.format.Output
import dev.edgeslim.format.Sha256
import dev.edgeslim.json.StrictJson
import java.io.File
import java.io.IOException
import java.nio.file.Files

/** Tables that sessions measured here, one file per device, bundle, variants and thread count. */
internal class TableStore(
    private val own: OwnFolder,
    private val deployment: Deployment,
    device: DeviceInfo,
    os: OsInfo,
    threads: Int,
) {
    private val name =
        Sha256.hex(
                StrictJson.canonical(
                        mapOf(
                            "device" to device.json(),
                            "os" to os.json(),
                            "bundle" to deployment.bundle.manifestSha256,
                            "variants" to deployment.variants.map { it.id },
                            "threads" to threads,
                        )
                    )
                    .toByteArray()
            )
            .take(32) + ".json"

    /** Null where there is none, or it cannot be read: then it is measured again. */
    fun load(): LatencyTable? =
        try {
            if (own.usable()) LatencyTable.fromJson(File(own.inside("tables"), name).readText()) else null
        } catch (_: IOException) {
            null
        } catch (_: TableException) {
            null
        }

    /** Throws [OutputException]. */
    fun save(table: LatencyTable) {
        own.make()
        val folder = own.inside("tables")
        try {
            Files.createDirectories(folder.toPath())
            val old =
                folder
                    .listFiles()
                    .orEmpty()
                    .filter { isOurs(it.name) && it.name != name }
                    .sortedBy { it.lastModified() }
            for (file in old.take(maxOf(old.size - KEPT + 1, 0))) file.delete()
        } catch (error: IOException) {
            throw Output.refusal(folder.toPath(), error)
        }
        val text = table.toJson().toByteArray()
        Output.file(File(folder, name).toPath(), overwrite = true).use { sink ->
            sink.write(text, 0, text.size)
            sink.commit()
        }
    }

    private fun isOurs(name: String) =
        name.length == 37 && name.endsWith(".json") && name.take(32).all { it in '0'..'9' || it in 'a'..'f' }

    /** Another device's table that travels in the bundle. */
    fun prior(): LatencyTable? =
        try {
            (deployment.bundle.manifest.extra["latency_table"] as? String)?.let(LatencyTable::fromJson)
        } catch (_: TableException) {
            null // a hint that cannot be read is no hint
        }

    companion object {
        private const val KEPT = 32

        /**
         * The ladder of [table] for a bundle, without some artifacts (by id, and why).
         *
         * Throws [TableException]: the table has no row for this bundle's files, or none is left.
         */
        fun ladder(table: LatencyTable, deployment: Deployment, threads: Int, without: Map<String, String>): Ladder {
            val plans = deployment.plans
            val bound = table.rows.filter { plans[it.artifact]?.key == it.fileSha256 }
            if (bound.isEmpty()) {
                throw TableException("the table holds no row of this bundle's files for ${deployment.target}")
            }
            // A table may have been taken with other variants beside these, so that it calls them otherwise.
            val named = bound.map { it.copy(label = plans.getValue(it.artifact).label) }
            val kept = named.filter { it.artifact !in without }
            if (kept.isEmpty()) {
                throw TableException(
                    "everything that was measured is left out: ${without.values.distinct().joinToString()}"
                )
            }
            val own = BundleQuality.of(deployment.bundle)
            val better = if (table.quality == null || own.metric != Worth.MACS) own else table.quality
            val several = kept.distinctBy { it.runtime.threads }.size > 1
            val choice = LadderChoice(threads = if (several) threads.toLong() else null)
            val built = Ladder.of(table.copy(rows = kept, quality = better), choice)
            val out =
                without.map { (artifact, why) ->
                    DroppedArtifact(artifact, plans.getValue(artifact).label, Reason.of("not_loaded", "why" to why))
                }
            return built.copy(dropped = (built.dropped + out).sortedBy { it.artifact })
        }
    }
}
