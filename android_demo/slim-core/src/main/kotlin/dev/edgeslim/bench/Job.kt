package dev.edgeslim.bench

import dev.edgeslim.SlimException
import dev.edgeslim.json.Fields
import dev.edgeslim.json.JsonObject
import dev.edgeslim.json.StrictJson
import dev.edgeslim.json.StrictJsonException

/** An unusable benchmark job, or a line that is no event. */
public class JobException(message: String, hint: String? = null) : SlimException(message, hint)

/**
 * One row to be: an artifact and a thread count.
 *
 * @property artifact id, `<variant>/<net>`.
 * @property widthPermille the net's width where it is one.
 * @property fileSha256 what the row is bound to.
 * @property path an artifact that is already on the disk; null: rebuilt from the bundle.
 */
public data class Cell
@JvmOverloads
constructor(
    val artifact: String,
    val label: String,
    val widthPermille: Long?,
    val target: String,
    val threads: Long,
    val precision: String,
    val inputShape: List<Long>,
    val fileSha256: String,
    val suffix: String = "",
    val backend: String? = null,
    val path: String? = null,
) {
    val variant: String
        get() = artifact.substringBefore('/')

    val net: String
        get() = artifact.substringAfter('/', "")

    internal fun json(): JsonObject =
        mapOf(
            "artifact" to artifact,
            "label" to label,
            "width_permille" to widthPermille,
            "target" to target,
            "threads" to threads,
            "precision" to precision,
            "input_shape" to inputShape,
            "file_sha256" to fileSha256,
            "suffix" to suffix,
            "backend" to backend,
            "path" to path,
        )

    internal companion object {
        fun read(value: Any?, where: String): Cell =
            with(Fields(value, where)) {
                Cell(
                        artifact = text("artifact"),
                        label = text("label"),
                        widthPermille = wholeOrNull("width_permille"),
                        target = text("target"),
                        threads = whole("threads"),
                        precision = text("precision"),
                        inputShape = list("input_shape", Fields.Companion::wholeOf),
                        fileSha256 = text("file_sha256"),
                        suffix = if (has("suffix")) text("suffix") else "",
                        backend = if (has("backend")) textOrNull("backend") else null,
                        path = if (has("path")) textOrNull("path") else null,
                    )
                    .also { finish() }
            }
    }
}

/**
 * What is to be measured, and how.
 *
 * @property kind `burst` or `sustained`.
 * @property runs of every cell at least, as [seconds]; unless [limitS] seconds of measuring come first.
 * @property blockS seconds of one turn of a cell.
 * @property leadInRuns runs at the start of every turn that warm the caches again.
 * @property together cells that take turns.
 * @property coolWaitS longest wait for a cool device.
 * @property hangS silence after which a cell counts as hung.
 * @property retries how often a cell is measured again because something else ran.
 * @throws JobException nothing to measure, or numbers out of range.
 */
public data class Job
@JvmOverloads
constructor(
    val kind: String,
    val cells: List<Cell>,
    val bundleSha256: String?,
    val runs: Long,
    val seconds: Double,
    val limitS: Double,
    val seed: Long = 0,
    val warmupRuns: Long = 10,
    val warmupS: Double = 0.5,
    val blockS: Double = 0.1,
    val leadInRuns: Long = 2,
    val together: Long = 16,
    val coolWaitS: Double = 300.0,
    val hangS: Double = 60.0,
    val retries: Long = 1,
) {
    init {
        if (cells.isEmpty()) throw JobException("nothing to measure: no artifact chosen")
        if (runs < 1 || warmupRuns < 0) throw JobException("cannot measure $runs runs: at least 1")
        if (!(seconds >= 0 && limitS > 0 && blockS > 0)) throw JobException("times to measure are above 0 seconds")
        if (cells.any { it.threads < 1 }) throw JobException("threads are at least 1")
        for (cell in cells) {
            if (cell.variant.isEmpty() || cell.net.isEmpty()) {
                throw JobException("artifact '${cell.artifact.take(200)}' is not <variant>/<net>")
            }
        }
    }

    /** Canonical JSON. */
    public fun toJson(): String =
        StrictJson.canonical(
            mapOf(
                "kind" to kind,
                "cells" to cells.map { it.json() },
                "bundle_sha256" to bundleSha256,
                "runs" to runs,
                "seconds" to seconds,
                "limit_s" to limitS,
                "seed" to seed,
                "warmup_runs" to warmupRuns,
                "warmup_s" to warmupS,
                "block_s" to blockS,
                "lead_in_runs" to leadInRuns,
                "together" to together,
                "cool_wait_s" to coolWaitS,
                "hang_s" to hangS,
                "retries" to retries,
            )
        )

    public companion object {
        private val KINDS = listOf("burst", "sustained").associateBy { it }

        /**
         * The job in [text].
         *
         * @throws JobException anything that is not exactly a job.
         */
        @JvmStatic
        public fun fromJson(text: String): Job =
            try {
                with(Fields(StrictJson.parse(text))) {
                    Job(
                            kind = choice("kind", KINDS),
                            cells = list("cells", Cell::read),
                            bundleSha256 = textOrNull("bundle_sha256"),
                            runs = whole("runs"),
                            seconds = number("seconds"),
                            limitS = number("limit_s"),
                            seed = if (has("seed")) whole("seed") else 0,
                            warmupRuns = if (has("warmup_runs")) whole("warmup_runs") else 10,
                            warmupS = if (has("warmup_s")) number("warmup_s") else 0.5,
                            blockS = if (has("block_s")) number("block_s") else 0.1,
                            leadInRuns = if (has("lead_in_runs")) whole("lead_in_runs") else 2,
                            together = if (has("together")) whole("together") else 16,
                            coolWaitS = if (has("cool_wait_s")) number("cool_wait_s") else 300.0,
                            hangS = if (has("hang_s")) number("hang_s") else 60.0,
                            retries = if (has("retries")) whole("retries") else 1,
                        )
                        .also { finish() }
                }
            } catch (error: StrictJsonException) {
                throw JobException("not a job: ${error.message}")
            }
    }
}
