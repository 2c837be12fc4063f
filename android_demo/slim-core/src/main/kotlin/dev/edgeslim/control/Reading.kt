package dev.edgeslim.control

import dev.edgeslim.control.Signals.Companion.UNKNOWN
import dev.edgeslim.json.Fields
import dev.edgeslim.json.JsonObject
import dev.edgeslim.json.StrictJson
import dev.edgeslim.json.StrictJsonException

/**
 * Everything the controller knows before one frame. Mutable, so that a frame allocates nothing; [copy] keeps one.
 *
 * @property nowUs a monotonic clock in microseconds.
 * @property deadlineUs time for the inference alone in microseconds: pre- and post-processing already taken off.
 * @property observedUs latency of the previous inference in microseconds, or -1.
 * @property observedRung the rung it ran at; may differ from the rung decided, while that one is being prepared.
 * @property status thermal level 0..4, or -1.
 * @property headroomMilli thermal headroom in thousandths, or -1.
 * @property forecastMilli headroom expected in 30 s, or -1.
 * @property batteryPermille charge, or -1.
 * @property powerMw power that inference may draw on average in milliwatts, or -1.
 * @property inferencesPerKs inferences per 1000 s, for the power budget.
 * @property userCap widest rung the app allows, or -1.
 * @property userMin narrowest rung the app wants; caps win over it.
 */
public data class Reading
@JvmOverloads
constructor(
    var nowUs: Long,
    var deadlineUs: Long,
    var observedUs: Long = UNKNOWN.toLong(),
    var observedRung: Int = UNKNOWN,
    var status: Int = UNKNOWN,
    var headroomMilli: Int = UNKNOWN,
    var forecastMilli: Int = UNKNOWN,
    var batteryPermille: Int = UNKNOWN,
    var charging: Boolean = false,
    var lowPower: Boolean = false,
    var powerMw: Int = UNKNOWN,
    var inferencesPerKs: Int = 0,
    var userCap: Int = UNKNOWN,
    var userMin: Int = 0,
) {
    /** Takes over what the device said. */
    public fun take(signals: Signals) {
        status = signals.status
        headroomMilli = signals.headroomMilli
        forecastMilli = signals.forecastMilli
        batteryPermille = signals.batteryPermille
        charging = signals.charging
        lowPower = signals.lowPower
    }

    internal fun json(): JsonObject =
        mapOf(
            "now_us" to nowUs,
            "deadline_us" to deadlineUs,
            "observed_us" to observedUs,
            "observed_rung" to observedRung,
            "status" to status,
            "headroom_milli" to headroomMilli,
            "forecast_milli" to forecastMilli,
            "battery_permille" to batteryPermille,
            "charging" to charging,
            "low_power" to lowPower,
            "power_mw" to powerMw,
            "inferences_per_ks" to inferencesPerKs,
            "user_cap" to userCap,
            "user_min" to userMin,
        )

    /** Canonical JSON with every member. */
    public fun toJson(): String = StrictJson.canonical(json())

    public companion object {
        /**
         * The reading in [text]: an object of them, or a frame of a log that has one as its `reading`. What may be
         * unknown may be missing.
         *
         * @throws TableException anything else.
         */
        @JvmStatic
        public fun fromJson(text: String): Reading =
            try {
                val document = StrictJson.parse(text)
                val inner = (document as? Map<*, *>)?.let { if (it.containsKey("reading")) it["reading"] else it }
                with(Fields(inner ?: document)) {
                    fun wholeOr(name: String, other: Long) = if (has(name)) whole(name) else other
                    fun intOr(name: String, other: Int) = if (has(name)) int(name) else other
                    Reading(
                            nowUs = whole("now_us"),
                            deadlineUs = whole("deadline_us"),
                            observedUs = wholeOr("observed_us", -1),
                            observedRung = intOr("observed_rung", UNKNOWN),
                            status = intOr("status", UNKNOWN),
                            headroomMilli = intOr("headroom_milli", UNKNOWN),
                            forecastMilli = intOr("forecast_milli", UNKNOWN),
                            batteryPermille = intOr("battery_permille", UNKNOWN),
                            charging = has("charging") && flag("charging"),
                            lowPower = has("low_power") && flag("low_power"),
                            powerMw = intOr("power_mw", UNKNOWN),
                            inferencesPerKs = intOr("inferences_per_ks", 0),
                            userCap = intOr("user_cap", UNKNOWN),
                            userMin = intOr("user_min", 0),
                        )
                        .also { finish() }
                }
            } catch (error: StrictJsonException) {
                throw TableException("not a reading: ${error.message}")
            }
    }
}

/**
 * What to run for the next frame.
 *
 * @property rung counted from the narrowest, 0.
 * @property artifact id of what runs.
 * @property label its name for people.
 * @property skip m: run one frame of m (1: every frame), because more would miss or the device is critical.
 * @property bits [CODES] as bits, the first lowest.
 * @property previous the rung before this step; -1: this was the first.
 * @property level thermal level 0..4 after this step.
 * @property cap the widest rung allowed in this step.
 */
public data class Decision(
    val rung: Int,
    val artifact: String,
    val label: String,
    val skip: Int,
    val bits: Int,
    val previous: Int,
    val level: Int,
    val cap: Int,
    val capLabel: String,
) {
    /** `starts`, `narrows`, `widens` or `stays`, with the label it leads to. */
    public val move: Reason
        get() {
            val code =
                when {
                    previous < 0 -> "starts"
                    rung < previous -> "narrows"
                    rung > previous -> "widens"
                    else -> "stays"
                }
            return Reason.of(code, "to" to label)
        }

    /** Why, in the order of [CODES]. */
    public val reasons: List<Reason>
        get() = CODES.indices.filter { bits shr it and 1 == 1 }.map(::reason)

    private fun reason(bit: Int): Reason =
        when {
            1 shl bit == THERMAL -> Reason.of(CODES[bit], "level" to level.toLong(), "cap" to capLabel)
            1 shl bit and CAPS != 0 -> Reason.of(CODES[bit], "cap" to capLabel)
            else -> Reason.of(CODES[bit])
        }

    /** Every member, the reasons' codes, and the sentence made from them. */
    public fun toJson(): String =
        StrictJson.canonical(
            mapOf(
                "rung" to rung,
                "artifact" to artifact,
                "label" to label,
                "skip" to skip,
                "bits" to bits,
                "previous" to previous,
                "level" to level,
                "cap" to cap,
                "cap_label" to capLabel,
                "reasons" to reasons.map { it.code },
                "sentence" to sentence(),
            )
        )

    /** For people: `narrowed to 0.75x: thermal level 2 caps at 0.75x`. */
    public fun sentence(): String {
        val obvious = if (bits and (PANIC or INFEASIBLE) != 0) "latency" else null // these say it better
        val whys = reasons.filter { it.code != obvious }.joinToString(", ") { it.sentence() }
        val skips = if (skip > 1) "; " + Reason.of("skips", "every" to skip.toLong()).sentence() else ""
        return move.sentence() + (if (whys.isEmpty()) "" else ": $whys") + skips
    }

    public companion object {
        internal const val LATENCY: Int = 1 shl 0
        internal const val PANIC: Int = 1 shl 1
        internal const val THERMAL: Int = 1 shl 2
        internal const val FORECAST: Int = 1 shl 3
        internal const val BATTERY: Int = 1 shl 4
        internal const val LOW_POWER: Int = 1 shl 5
        internal const val POWER_BUDGET: Int = 1 shl 6
        internal const val USER: Int = 1 shl 7
        internal const val HOLD: Int = 1 shl 8
        internal const val INFEASIBLE: Int = 1 shl 9
        internal const val WIDENED: Int = 1 shl 10
        private const val CAPS = THERMAL or FORECAST or BATTERY or LOW_POWER or POWER_BUDGET or USER

        /** Codes of reasons, in the order of their bits. */
        @JvmField
        public val CODES: List<String> =
            listOf(
                "latency",
                "panic",
                "thermal",
                "forecast",
                "battery",
                "low_power",
                "power_budget",
                "user",
                "hold",
                "infeasible",
                "widened",
            )
    }
}
