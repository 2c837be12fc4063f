package dev.edgeslim.control

import dev.edgeslim.json.Fields
import dev.edgeslim.json.StrictJson
import dev.edgeslim.json.StrictJsonException

/**
 * One artifact on a ladder.
 *
 * @property timeUs p50 on a cool device in microseconds.
 * @property energyUj energy per inference in microjoules.
 * @property worth what it is worth ([Ladder.metric]).
 * @property label its name for people.
 */
public data class Rung(val artifact: String, val timeUs: Long, val energyUj: Long, val worth: Long, val label: String)

/** An artifact that a ladder does not use, and why. */
public data class DroppedArtifact(val artifact: String, val label: String, val reason: Reason)

/**
 * Rungs from narrow to wide: strictly rising time and worth, energy that does not fall.
 *
 * @property metric what [Rung.worth] counts.
 * @property notes what stands in for what.
 * @throws TableException no rung, an artifact twice, or rungs that do not rise.
 */
public data class Ladder
@JvmOverloads
constructor(
    val rungs: List<Rung>,
    val metric: String = "top1",
    val energyEstimated: Boolean = false,
    val dropped: List<DroppedArtifact> = emptyList(),
    val notes: List<Reason> = emptyList(),
) {
    init {
        if (rungs.isEmpty())
            throw TableException("a ladder needs at least one rung", hint = "`edgeslim bench` measures some")
        if (rungs.mapTo(HashSet()) { it.artifact }.size < rungs.size) {
            throw TableException("an artifact is two rungs: ${rungs.joinToString { it.artifact }}")
        }
        for (rung in rungs) {
            if (rung.timeUs !in 1..MAX_TIME_US || rung.energyUj !in 0..MAX_ENERGY_UJ) {
                throw TableException("${rung.artifact}: ${rung.timeUs} µs or ${rung.energyUj} µJ is out of range")
            }
            if (rung.worth !in -Worth.MAX..Worth.MAX) {
                throw TableException("${rung.artifact}: a worth of ${rung.worth} is out of range")
            }
        }
        for ((low, high) in rungs.zipWithNext()) {
            if (low.timeUs >= high.timeUs || low.energyUj > high.energyUj || low.worth >= high.worth) {
                throw TableException(
                    "${low.artifact} and ${high.artifact} are no ladder: the wider must cost and give more"
                )
            }
        }
    }

    /**
     * The rung of [artifact].
     *
     * @throws TableException it is none.
     */
    public fun index(artifact: String): Int {
        val index = rungs.indexOfFirst { it.artifact == artifact }
        if (index < 0) throw TableException("$artifact is not a rung; rungs are ${rungs.joinToString { it.artifact }}")
        return index
    }

    /** The ladder of the other rungs, for an artifact that cannot be loaded. */
    public fun without(artifact: String, reason: Reason): Ladder {
        val gone = rungs[index(artifact)]
        return copy(rungs = rungs - gone, dropped = dropped + DroppedArtifact(artifact, gone.label, reason))
    }

    /** `{"metric", "energy_estimated", "rungs", "dropped", "notes"}`; reasons as codes with parameters and sentence. */
    public fun toJson(): String {
        fun reason(reason: Reason) = reason.json() + mapOf("sentence" to reason.sentence())
        return StrictJson.canonical(
            mapOf(
                "metric" to metric,
                "energy_estimated" to energyEstimated,
                "rungs" to
                    rungs.map {
                        mapOf(
                            "artifact" to it.artifact,
                            "t_us" to it.timeUs,
                            "energy_uj" to it.energyUj,
                            "worth" to it.worth,
                            "label" to it.label,
                        )
                    },
                "dropped" to dropped.map { mapOf("artifact" to it.artifact, "label" to it.label) + reason(it.reason) },
                "notes" to notes.map(::reason),
            )
        )
    }

    public companion object {
        /**
         * The ladder in [text], as [toJson] writes it; all but the rungs may be missing.
         *
         * @throws TableException anything else.
         */
        @JvmStatic
        public fun fromJson(text: String): Ladder =
            try {
                with(Fields(StrictJson.parse(text))) {
                    Ladder(
                            rungs = list("rungs", ::rung),
                            metric = if (has("metric")) text("metric") else "top1",
                            energyEstimated = has("energy_estimated") && flag("energy_estimated"),
                            dropped = if (has("dropped")) list("dropped", ::droppedArtifact) else emptyList(),
                            notes = if (has("notes")) list("notes", Reason::read) else emptyList(),
                        )
                        .also { finish() }
                }
            } catch (error: StrictJsonException) {
                throw TableException("not a ladder: ${error.message}", hint = "`slim ladder` makes one of a table")
            }

        private fun rung(value: Any?, where: String): Rung =
            with(Fields(value, where)) {
                Rung(text("artifact"), whole("t_us"), whole("energy_uj"), whole("worth"), text("label")).also {
                    finish()
                }
            }

        private fun droppedArtifact(value: Any?, where: String): DroppedArtifact {
            val document = Fields.objectOf(value, where)
            return with(Fields(document.filterKeys { it == "artifact" || it == "label" }, where)) {
                val reason = Reason.read(document.filterKeys { it != "artifact" && it != "label" }, where)
                DroppedArtifact(text("artifact"), text("label"), reason)
            }
        }

        /** One minute in microseconds. */
        public const val MAX_TIME_US: Long = 60_000_000

        /** One kilojoule in microjoules. */
        public const val MAX_ENERGY_UJ: Long = 1_000_000_000

        /**
         * The Pareto-optimal, thinned rungs of [table].
         *
         * @throws TableException nothing usable, or rows of several targets, thread counts, devices or contexts.
         */
        @JvmStatic
        @JvmOverloads
        public fun of(table: LatencyTable, choice: LadderChoice = LadderChoice()): Ladder =
            LadderBuilder(table, choice).build()
    }
}

/**
 * Which rows of a table make a ladder; null takes all.
 *
 * @property accuracies by artifact id, in any unit where more is better; null takes the table's own quality.
 * @property threads needed where the table holds several; so are [target], [device] (a model's name) and [context].
 * @property doubtful use measured rows that do not count, too.
 */
public data class LadderChoice
@JvmOverloads
constructor(
    val accuracies: Map<String, Double>? = null,
    val target: String? = null,
    val precision: String? = null,
    val threads: Long? = null,
    val device: String? = null,
    val context: String? = null,
    val doubtful: Boolean = false,
)

/** What artifacts are worth, as whole numbers that compare the same in every language. */
internal object Worth {
    const val MAX: Long = 1L shl 52
    const val MACS: String = "macs"
    const val WIDTH: String = "width"
    const val LATENCY: String = "latency"

    /** Millionths, rounded half up on the double; what stands in for an accuracy as it is. More is always better. */
    fun of(value: Double, metric: String, largerIsBetter: Boolean): Long {
        val unit = if (metric == MACS || metric == WIDTH || metric == LATENCY) 1 else 1_000_000
        val whole = Math.floor(value * unit + 0.5)
        val bounded = minOf(maxOf(whole, -MAX.toDouble()), MAX.toDouble()).toLong()
        return if (largerIsBetter) bounded else -bounded
    }
}

/** `rows ─► usable ─► Pareto ─► thinning ─► Ladder`; every artifact left out says why. */
internal class LadderBuilder(private val table: LatencyTable, private val choice: LadderChoice) {
    private val notes = ArrayList<Reason>()
    private val dropped = ArrayList<DroppedArtifact>()

    fun build(): Ladder {
        val rows = measured(onePerArtifact(chosen()))
        val (worths, metric) = worths(rows)
        val priced = rows.filter { it.artifact in worths }
        val estimated = priced.any { it.energyMjPerInference == null }
        val rungs = pareto(price(priced, worths, estimated))
        val kept = Thinning(rungs).kept()
        dropped.addAll(kept.dropped)
        return Ladder(
            rungs = energyRising(kept.rungs),
            metric = metric,
            energyEstimated = estimated,
            dropped = dropped.sortedBy { it.artifact },
            notes = notes,
        )
    }

    private fun drop(row: LatencyRow, code: String, vararg params: Pair<String, Any>) {
        dropped.add(DroppedArtifact(row.artifact, row.label, Reason.of(code, *params)))
    }

    private fun chosen(): List<LatencyRow> =
        table.rows.filter { row ->
            (choice.target == null || row.target == choice.target) &&
                (choice.precision == null || row.precision == choice.precision) &&
                (choice.threads == null || row.runtime.threads == choice.threads) &&
                (choice.device == null || row.device.model == choice.device) &&
                (choice.context == null || row.context == choice.context)
        }

    private fun measured(rows: List<LatencyRow>): List<LatencyRow> {
        val timed = rows.filter { it.statistics != null }
        for (row in rows) if (row.statistics == null) drop(row, "not_measured", "why" to row.reasons.joinToString("; "))
        val valid = timed.filter { it.valid }
        if (valid.isEmpty() && timed.isNotEmpty()) {
            notes.add(Reason.of("all_doubtful"))
            return timed
        }
        if (choice.doubtful && valid.size < timed.size) {
            val count = (timed.size - valid.size).toLong()
            notes.add(Reason.of("some_doubtful", "count" to count, "of" to timed.size.toLong()))
            return timed
        }
        for (row in timed) if (!row.valid) drop(row, "not_valid", "why" to row.reasons.joinToString("; "))
        return valid
    }

    private fun worths(rows: List<LatencyRow>): Pair<Map<String, Long>, String> {
        val quality = if (choice.accuracies == null) table.quality else null
        val accuracies = choice.accuracies ?: quality?.values ?: emptyMap()
        val metric = quality?.metric ?: "top1"
        val larger = quality?.largerIsBetter ?: true
        val found = HashMap<String, Long>()
        for (row in rows) accuracies[row.artifact]?.let { found[row.artifact] = Worth.of(it, metric, larger) }
        if (found.isEmpty()) return standIns(rows)
        if (metric == Worth.MACS) notes.add(Reason.of("worth_is_macs"))
        for (row in rows) if (row.artifact !in found) drop(row, "no_worth", "metric" to metric)
        return Pair(found, metric)
    }

    /** The width where every row has one; else whatever takes longer is taken to be better. */
    private fun standIns(rows: List<LatencyRow>): Pair<Map<String, Long>, String> {
        if (rows.all { it.widthPermille != null }) {
            notes.add(Reason.of("worth_is_width"))
            return Pair(rows.associate { it.artifact to it.widthPermille!! }, Worth.WIDTH)
        }
        notes.add(Reason.of("worth_is_latency"))
        return Pair(rows.associate { it.artifact to microseconds(it) }, Worth.LATENCY)
    }

    private fun microseconds(row: LatencyRow): Long =
        minOf(maxOf(Math.floor(row.statistics!!.p50Ms * 1000 + 0.5), 1.0), Ladder.MAX_TIME_US.toDouble()).toLong()

    private fun price(rows: List<LatencyRow>, worths: Map<String, Long>, estimated: Boolean): List<Rung> {
        if (estimated) notes.add(Reason.of("energy_estimated", "watts" to ESTIMATED_WATTS))
        return rows.map { row ->
            val time = microseconds(row)
            val energy =
                if (estimated) time * ESTIMATED_WATTS else Math.floor(row.energyMjPerInference!! * 1000 + 0.5).toLong()
            val worth = worths.getValue(row.artifact)
            Rung(row.artifact, time, minOf(energy, Ladder.MAX_ENERGY_UJ), worth, row.label)
        }
    }

    /** Those that no other beats: sorted by latency, each must be worth more than all before it. */
    private fun pareto(rungs: List<Rung>): List<Rung> {
        val kept = ArrayList<Rung>()
        for (rung in
            rungs.sortedWith(compareBy<Rung> { it.timeUs }.thenByDescending { it.worth }.thenBy { it.artifact })) {
            if (kept.isNotEmpty() && rung.worth <= kept.last().worth) {
                dropped.add(DroppedArtifact(rung.artifact, rung.label, Reason.of("beaten", "by" to kept.last().label)))
            } else {
                kept.add(rung)
            }
        }
        return kept
    }

    /** A rung never costs less than a narrower one: noise in the meter must not break the power budget's search. */
    private fun energyRising(rungs: List<Rung>): List<Rung> {
        val rising = ArrayList<Rung>()
        for (rung in rungs) {
            val below = rising.lastOrNull()
            if (below != null && rung.energyUj < below.energyUj) {
                notes.add(Reason.of("energy_raised", "label" to rung.label, "to" to below.label))
                rising.add(rung.copy(energyUj = below.energyUj))
            } else {
                rising.add(rung)
            }
        }
        return rising
    }

    companion object {
        const val ESTIMATED_WATTS = 2L

        /** Burst before prior, valid before not, the last of several; by artifact id. Throws [TableException]. */
        fun onePerArtifact(rows: List<LatencyRow>): List<LatencyRow> {
            val usable = rows.filter { it.kind != RowKind.SUSTAINED }
            if (usable.isEmpty()) {
                throw TableException(
                    "the table has no burst row for this choice",
                    hint = "`edgeslim bench --kind burst` measures what a ladder needs",
                )
            }
            val places =
                mapOf<String, (LatencyRow) -> String>(
                    "target" to { it.target },
                    "threads" to { it.runtime.threads.toString() },
                    "device" to { it.device.model },
                    "context" to { it.context },
                )
            for ((name, value) in places) {
                val values = usable.map(value).distinct().sorted()
                if (values.size > 1) {
                    throw TableException(
                        "the table holds several values of $name: ${values.joinToString()}",
                        "choose one",
                    )
                }
            }
            val best = HashMap<String, LatencyRow>()
            for (row in usable.sortedWith(compareBy({ it.kind == RowKind.BURST }, { it.valid }))) best[row.artifact] =
                row
            return best.values.sortedBy { it.artifact }
        }
    }
}
