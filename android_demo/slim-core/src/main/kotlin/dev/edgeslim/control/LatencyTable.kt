package dev.edgeslim.control

import dev.edgeslim.SlimException
import dev.edgeslim.format.Names
import dev.edgeslim.json.Fields
import dev.edgeslim.json.JsonObject
import dev.edgeslim.json.StrictJson
import dev.edgeslim.json.StrictJsonException

/** An unusable latency table or ladder. */
public class TableException(message: String, hint: String? = null) : SlimException(message, hint)

/** What kind of figure a row holds; [text] stands in tables. */
public enum class RowKind(public val text: String) {
    BURST("burst"),
    SUSTAINED("sustained"),

    /** Scaled from another device's table, not measured here. */
    PRIOR("prior"),
}

/** Figures of a run of samples in milliseconds; percentiles interpolate linearly between neighbours. */
public data class LatencyStatistics(
    val p50Ms: Double,
    val p90Ms: Double,
    val p95Ms: Double,
    val p99Ms: Double,
    val meanMs: Double,
    val stdMs: Double,
    val minMs: Double,
    val maxMs: Double,
) {
    internal fun named(): Map<String, Double> =
        NAMES.zip(listOf(p50Ms, p90Ms, p95Ms, p99Ms, meanMs, stdMs, minMs, maxMs)).toMap()

    public companion object {
        internal val NAMES: List<String> =
            listOf("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "std_ms", "min_ms", "max_ms")

        /**
         * Of at least one sample in milliseconds; the deviation is that of the population.
         *
         * @throws TableException no sample.
         */
        @JvmStatic
        public fun of(samplesMs: DoubleArray): LatencyStatistics {
            if (samplesMs.isEmpty()) throw TableException("statistics need at least one sample")
            val ordered = samplesMs.sortedArray()
            val mean = ordered.sum() / ordered.size
            fun percentile(hundredths: Int): Double {
                val place = hundredths.toLong() * (ordered.size - 1)
                val low = ordered[(place / 100).toInt()]
                val high = ordered[minOf((place / 100).toInt() + 1, ordered.size - 1)]
                return low + (high - low) * (place % 100) / 100
            }
            return LatencyStatistics(
                p50Ms = percentile(50),
                p90Ms = percentile(90),
                p95Ms = percentile(95),
                p99Ms = percentile(99),
                meanMs = mean,
                stdMs = Math.sqrt(ordered.sumOf { (it - mean) * (it - mean) } / ordered.size),
                minMs = ordered[0],
                maxMs = ordered[ordered.size - 1],
            )
        }
    }
}

/**
 * How long one artifact takes on one device with one runtime; names carry their units.
 *
 * @property fileSha256 what the row is bound to.
 * @property statistics null of a row without any run.
 * @property samplesMs every timed inference in order, or null.
 * @property energyMethod `rapl`, `odpm`, `power_supply`, `current_now` or `none`.
 * @property context `app`, `shell` or `process`: who ran it.
 * @property reasons why the row does not count; empty exactly where [valid].
 * @throws TableException members that contradict each other, or are out of range.
 */
public data class LatencyRow(
    val fileSha256: String,
    val bundleSha256: String?,
    val artifact: String,
    val net: String,
    val label: String,
    val widthPermille: Long?,
    val target: String,
    val precision: String,
    val inputShape: List<Long>,
    val device: DeviceInfo,
    val os: OsInfo,
    val runtime: RuntimeInfo,
    val context: String,
    val qos: String? = null,
    val rebuildMs: Double? = null,
    val loadColdMs: Double? = null,
    val loadWarmMs: Double? = null,
    val firstInferenceMs: Double? = null,
    val warmupRuns: Long,
    val runs: Long,
    val durationS: Double,
    val statistics: LatencyStatistics?,
    val samplesMs: List<Double>? = null,
    val samplesFile: String? = null,
    val blockRuns: List<Long>? = null,
    val peakRssBytes: Long? = null,
    val thermal: ThermalSpan = ThermalSpan(),
    val battery: BatterySpan = BatterySpan(),
    val clock: ClockSpan = ClockSpan(),
    val load: LoadSpan = LoadSpan(),
    val energyMjPerInference: Double? = null,
    val energyMethod: String = "none",
    val kind: RowKind,
    val order: Long,
    val seed: Long,
    val valid: Boolean,
    val reasons: List<String>,
    val notes: List<String> = emptyList(),
    val startedAt: String,
    val edgeslimVersion: String,
) {
    init {
        RowRules.fault(this)?.let { throw TableException("row of $artifact: $it") }
    }

    internal fun json(): JsonObject {
        val found = LinkedHashMap<String, Any?>()
        found["schema_version"] = LatencyTable.SCHEMA_VERSION
        found["file_sha256"] = fileSha256
        found["bundle_sha256"] = bundleSha256
        found["artifact"] = artifact
        found["net"] = net
        found["label"] = label
        found["width_permille"] = widthPermille
        found["target"] = target
        found["precision"] = precision
        found["input_shape"] = inputShape
        found["device"] = device.json()
        found["os"] = os.json()
        found["runtime"] = runtime.json()
        found["context"] = context
        found["qos"] = qos
        found["rebuild_ms"] = rebuildMs
        found["load_cold_ms"] = loadColdMs
        found["load_warm_ms"] = loadWarmMs
        found["first_inference_ms"] = firstInferenceMs
        found["warmup_runs"] = warmupRuns
        found["runs"] = runs
        found["duration_s"] = durationS
        for (name in LatencyStatistics.NAMES) found[name] = statistics?.named()?.get(name)
        found["samples_ms"] = samplesMs
        found["samples_file"] = samplesFile
        found["block_runs"] = blockRuns
        found["peak_rss_bytes"] = peakRssBytes
        found["thermal"] = thermal.json()
        found["battery"] = battery.json()
        found["clock"] = clock.json()
        found["load"] = load.json()
        found["energy_mj_per_inference"] = energyMjPerInference
        found["energy_method"] = energyMethod
        found["kind"] = kind.text
        found["order"] = order
        found["seed"] = seed
        found["valid"] = valid
        found["reasons"] = reasons
        found["notes"] = notes
        found["started_at"] = startedAt
        found["edgeslim_version"] = edgeslimVersion
        return found
    }

    internal companion object {
        private val KINDS = RowKind.entries.associateBy { it.text }
        private val CONTEXTS = listOf("app", "shell", "process").associateBy { it }
        private val METHODS = listOf("rapl", "odpm", "power_supply", "current_now", "none").associateBy { it }

        fun read(value: Any?, where: String): LatencyRow =
            with(Fields(value, where)) {
                if (has("schema_version")) LatencyTable.checkVersion(whole("schema_version"))
                LatencyRow(
                        fileSha256 = text("file_sha256"),
                        bundleSha256 = textOrNull("bundle_sha256"),
                        artifact = text("artifact"),
                        net = text("net"),
                        label = text("label"),
                        widthPermille = wholeOrNull("width_permille"),
                        target = text("target"),
                        precision = text("precision"),
                        inputShape = list("input_shape", Fields.Companion::wholeOf),
                        device = nested("device", DeviceInfo::read),
                        os = nested("os", OsInfo::read),
                        runtime = nested("runtime", RuntimeInfo::read),
                        context = choice("context", CONTEXTS),
                        qos = if (has("qos")) textOrNull("qos") else null,
                        rebuildMs = numberIfThere("rebuild_ms"),
                        loadColdMs = numberIfThere("load_cold_ms"),
                        loadWarmMs = numberIfThere("load_warm_ms"),
                        firstInferenceMs = numberIfThere("first_inference_ms"),
                        warmupRuns = whole("warmup_runs"),
                        runs = whole("runs"),
                        durationS = number("duration_s"),
                        statistics = statistics(this),
                        samplesMs =
                            if (has("samples_ms")) listOrNull("samples_ms", Fields.Companion::numberOf) else null,
                        samplesFile = if (has("samples_file")) textOrNull("samples_file") else null,
                        blockRuns =
                            if (has("block_runs")) listOrNull("block_runs", Fields.Companion::wholeOf) else null,
                        peakRssBytes = wholeIfThere("peak_rss_bytes"),
                        thermal = if (has("thermal")) nested("thermal", ThermalSpan::read) else ThermalSpan(),
                        battery = if (has("battery")) nested("battery", BatterySpan::read) else BatterySpan(),
                        clock = if (has("clock")) nested("clock", ClockSpan::read) else ClockSpan(),
                        load = if (has("load")) nested("load", LoadSpan::read) else LoadSpan(),
                        energyMjPerInference = numberIfThere("energy_mj_per_inference"),
                        energyMethod = if (has("energy_method")) choice("energy_method", METHODS) else "none",
                        kind = choice("kind", KINDS),
                        order = whole("order"),
                        seed = whole("seed"),
                        valid = flag("valid"),
                        reasons = list("reasons", Fields.Companion::textOf),
                        notes = if (has("notes")) list("notes", Fields.Companion::textOf) else emptyList(),
                        startedAt = text("started_at"),
                        edgeslimVersion = text("edgeslim_version"),
                    )
                    .also { finish() }
            }

        private fun statistics(fields: Fields): LatencyStatistics? {
            val found = LatencyStatistics.NAMES.map(fields::numberIfThere)
            val there = found.filterNotNull()
            if (there.isEmpty()) return null
            if (there.size < found.size) throw StrictJsonException("some of ${LatencyStatistics.NAMES} are missing")
            return LatencyStatistics(there[0], there[1], there[2], there[3], there[4], there[5], there[6], there[7])
        }
    }
}

/** What the members of a row may say together. */
internal object RowRules {
    private const val TOLERANCE = 1e-6 // relative; a statistic that does not follow from its samples was edited

    fun fault(row: LatencyRow): String? {
        val hashes = listOfNotNull(row.fileSha256, row.bundleSha256)
        val width = row.widthPermille
        val times =
            listOfNotNull(
                row.durationS,
                row.rebuildMs,
                row.loadColdMs,
                row.loadWarmMs,
                row.firstInferenceMs,
                row.energyMjPerInference,
            )
        val counts = listOfNotNull(row.warmupRuns, row.runs, row.order, row.seed, row.peakRssBytes, row.device.ramBytes)
        val levels = listOfNotNull(row.thermal.levelStart, row.thermal.levelEnd, row.thermal.levelMax)
        val charges = listOfNotNull(row.battery.permilleStart, row.battery.permilleEnd)
        val blocks = row.blockRuns
        return when {
            !hashes.all { Names.isHex(it, 64) } -> "a SHA-256 is 64 lower-case hexadecimal digits"
            !isArtifact(row.artifact) -> "artifact '${row.artifact.take(80)}' is not <variant>/<net>"
            row.artifact.substringAfter('/') != row.net -> "net '${row.net}' is not that of the artifact"
            row.label.isBlank() -> "label is empty"
            width != null && width !in 1..Width.MAX_PERMILLE -> "width_permille is out of range"
            width != null && row.net != Width.netId(width.toInt()) ->
                "width_permille is $width, but net is '${row.net}'"
            counts.any { it < 0 } -> "a count is negative"
            row.runtime.threads < 1 || row.device.cores < 1 -> "threads and cores are at least 1"
            row.inputShape.any { it < 1 } -> "input_shape has a size below 1"
            times.any { it < 0 } -> "a time or an energy is negative"
            levels.any { it !in 0..4 } -> "thermal levels are 0..4"
            charges.any { it !in 0..1000 } -> "battery charge is 0..1000 permille"
            (row.energyMethod == "none") != (row.energyMjPerInference == null) -> "energy and energy_method disagree"
            row.valid != row.reasons.isEmpty() -> "a valid row has no reasons, another has at least one"
            row.samplesMs != null && row.samplesFile != null -> "samples are here or in a file, not both"
            blocks != null && (blocks.any { it < 1 } || blocks.sum() != row.runs) -> "block_runs do not sum to runs"
            isBadSibling(row.samplesFile) -> "samples_file is not the plain name of a file beside the table"
            else -> statisticsFault(row)
        }
    }

    private fun isArtifact(text: String): Boolean {
        val halves = text.split('/')
        return halves.size == 2 && halves.all { half -> half.length in 1..128 && half.none { it.isWhitespace() } }
    }

    private fun isBadSibling(name: String?): Boolean =
        name != null && (name.isEmpty() || name[0] == '.' || name.any { it == '/' || it == '\\' || it == '\u0000' })

    private fun statisticsFault(row: LatencyRow): String? {
        val found = row.statistics
        if (found == null) {
            return when {
                row.valid || row.runs > 0 -> "a row with runs has statistics, and a valid row has runs"
                !row.samplesMs.isNullOrEmpty() -> "samples without statistics"
                else -> null
            }
        }
        val rising = listOf(found.minMs, found.p50Ms, found.p90Ms, found.p95Ms, found.p99Ms, found.maxMs)
        val slack = found.maxMs * TOLERANCE
        return when {
            row.runs < 1 -> "statistics without runs"
            found.minMs <= 0 || found.stdMs < 0 -> "latencies are above 0 and their deviation is not negative"
            rising.zipWithNext().any { (low, high) -> low > high } -> "percentiles are out of order"
            found.meanMs < found.minMs - slack || found.meanMs > found.maxMs + slack ->
                "the mean is outside the samples"
            else -> samplesFault(row, found, slack)
        }
    }

    private fun samplesFault(row: LatencyRow, found: LatencyStatistics, slack: Double): String? {
        val samples = row.samplesMs ?: return null
        if (samples.size.toLong() != row.runs) return "${samples.size} samples but runs is ${row.runs}"
        if (samples.isEmpty()) return null
        val truth = LatencyStatistics.of(samples.toDoubleArray()).named()
        val wrong = found.named().filter { (name, value) -> Math.abs(truth.getValue(name) - value) > slack }.keys
        return if (wrong.isEmpty()) null else "${wrong.joinToString()} do not follow from samples_ms"
    }
}

/**
 * What artifacts are worth: an accuracy as a fraction (`top1`), an error, or `macs` standing in for them.
 *
 * @property values by artifact id.
 */
public data class TableQuality(
    val metric: String,
    val source: String,
    val largerIsBetter: Boolean,
    val values: Map<String, Double>,
) {
    internal fun json(): JsonObject =
        mapOf(
            "metric" to metric,
            "source" to source,
            "larger_is_better" to largerIsBetter,
            "values" to values.map { (artifact, value) -> mapOf("artifact" to artifact, "value" to value) },
        )

    internal companion object {
        fun read(value: Any?, where: String): TableQuality =
            with(Fields(value, where)) {
                val items = list("values", ::item)
                val values = items.toMap()
                if (values.size < items.size) throw TableException("quality names an artifact twice")
                TableQuality(text("metric"), text("source"), flag("larger_is_better"), values).also { finish() }
            }

        private fun item(value: Any?, where: String): Pair<String, Double> =
            with(Fields(value, where)) { Pair(text("artifact"), number("value")).also { finish() } }
    }
}

/** One artifact timed here to scale another device's table. */
public data class Probe(val artifact: String, val thereMs: Double, val hereMs: Double)

/** Where the rows of kind [RowKind.PRIOR] come from. */
public data class Prior(val device: DeviceInfo, val probes: List<Probe>, val scale: Double) {
    internal fun json(): JsonObject =
        mapOf(
            "device" to device.json(),
            "probes" to
                probes.map { mapOf("artifact" to it.artifact, "there_ms" to it.thereMs, "here_ms" to it.hereMs) },
            "scale" to scale,
        )

    internal companion object {
        fun read(value: Any?, where: String): Prior =
            with(Fields(value, where)) {
                Prior(nested("device", DeviceInfo::read), list("probes", ::probe), number("scale")).also { finish() }
            }

        private fun probe(value: Any?, where: String): Probe =
            with(Fields(value, where)) {
                Probe(text("artifact"), number("there_ms"), number("here_ms")).also { finish() }
            }
    }
}

/**
 * A header and rows; one JSON file.
 *
 * @throws TableException two rows for the same artifact, file, kind, runtime and context on one device.
 */
public data class LatencyTable(
    val edgeslimVersion: String,
    val createdAt: String,
    val quality: TableQuality? = null,
    val prior: Prior? = null,
    val rows: List<LatencyRow>,
) {
    init {
        val seen = HashSet<Any>()
        for (row in rows) {
            val where = listOf(row.device, row.os, row.runtime, row.context, row.qos)
            if (!seen.add(listOf(row.artifact, row.kind, row.fileSha256, where))) {
                throw TableException("${row.artifact} stands twice with the same file, device, runtime and kind")
            }
        }
    }

    /** Canonical JSON: sorted keys, one row per line. */
    public fun toJson(): String {
        val header =
            mapOf(
                "created_at" to createdAt,
                "edgeslim_version" to edgeslimVersion,
                "prior" to prior?.json(),
                "quality" to quality?.json(),
                "schema_version" to SCHEMA_VERSION,
            )
        val lines = header.entries.joinToString("\n") { (name, value) -> "\"$name\":${StrictJson.canonical(value)}," }
        val body = rows.joinToString(",\n") { StrictJson.canonical(it.json()) }
        return "{$lines\n\"rows\":[" + (if (rows.isEmpty()) "" else "\n$body\n") + "]}\n"
    }

    public companion object {
        internal const val SCHEMA_VERSION: Long = 1

        internal fun checkVersion(version: Long) {
            if (version == SCHEMA_VERSION) return
            throw TableException(
                "this table has schema_version $version, expected $SCHEMA_VERSION",
                hint = "use the edgeslim version that wrote it",
            )
        }

        /**
         * The table in [text].
         *
         * @throws TableException anything that is not exactly a table.
         */
        @JvmStatic
        public fun fromJson(text: String): LatencyTable =
            try {
                with(Fields(StrictJson.parse(text))) {
                    if (has("schema_version")) checkVersion(whole("schema_version"))
                    LatencyTable(
                            edgeslimVersion = text("edgeslim_version"),
                            createdAt = text("created_at"),
                            quality = if (has("quality")) nestedOrNull("quality", TableQuality::read) else null,
                            prior = if (has("prior")) nestedOrNull("prior", Prior::read) else null,
                            rows = list("rows", LatencyRow::read),
                        )
                        .also { finish() }
                }
            } catch (error: StrictJsonException) {
                throw TableException("not a latency table: ${error.message}", hint = "`edgeslim bench` writes one")
            }
    }
}
