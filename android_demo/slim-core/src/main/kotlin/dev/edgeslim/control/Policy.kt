package dev.edgeslim.control

import dev.edgeslim.SlimException
import dev.edgeslim.json.JsonObject
import dev.edgeslim.json.StrictJson
import dev.edgeslim.json.StrictJsonException

/**
 * A policy breaks a rule.
 *
 * @property rule its name, the same in every language.
 */
public class PolicyException(public val rule: String, message: String, hint: String? = null) :
    SlimException(message, hint) {
    override val brokenRule: String
        get() = rule
}

/** One field of a policy: [length] numbers (0: a plain one) from [low] to [high]. */
internal enum class PolicyField(
    val low: Long,
    val high: Long,
    val length: Int,
    vararg val default: Long,
    val ascending: Boolean = false,
) {
    // Which rungs, counted from the narrowest (0); a shorter ladder gives its widest. FIXED = 1: the widest alone.
    MIN_RUNG(0, 1000, 0, 0),
    MAX_RUNG(0, 1000, 0, 1000),
    FIXED(0, 1, 0, 0),
    // Deadline: the share kept free, and a further share before widening; SHIFT means a fraction 1/2^shift.
    HEADROOM_SHIFT(1, 12, 0, 5),
    WIDEN_SHIFT(1, 12, 0, 3),
    // Slowdown estimate: mean gain, gain after a jump, upward deviation, outlier gate.
    MEAN_SHIFT(0, 10, 0, 3),
    JUMP_SHIFT(0, 10, 0, 1),
    DEV_ATTACK_SHIFT(0, 10, 0, 2),
    DEV_RELEASE_SHIFT(0, 10, 0, 4),
    DEV_FLOOR_SHIFT(0, 10, 0, 6),
    DEV_START_SHIFT(0, 10, 0, 3),
    DEV_STALE_SHIFT(0, 10, 0, 2),
    GATE_DEV_SHIFT(0, 4, 0, 2),
    GATE_FLOOR_SHIFT(0, 10, 0, 2),
    GATE_SAMPLES(1, 100, 0, 2),
    // Safety factor in 1/1024: equilibrium at hit / (hit + miss) misses.
    K_START(0, 8192, 0, 3072),
    K_MIN(0, 8192, 0, 512),
    K_MAX(0, 8192, 0, 8192),
    K_HIT(0, 1024, 0, 4),
    K_MISS(0, 8192, 0, 252),
    // Switching.
    SETTLE_SAMPLES(0, 100, 0, 1),
    PANIC_MISSES(1, 1000, 0, 2),
    DWELL_US(0, DAY_US, 0, SECOND_US),
    DWELL_FRAMES(0, 100_000, 0, 15),
    DWELL_WARM_US(0, DAY_US, 0, 10 * SECOND_US),
    STALE_US(0, DAY_US, 0, 10 * SECOND_US),
    // Waiting after a widening that failed: base, longest.
    LATENCY_HOLD_US(0, DAY_US, 2, 2 * SECOND_US, 16 * SECOND_US, ascending = true),
    THERMAL_HOLD_US(0, DAY_US, 2, 60 * SECOND_US, 480 * SECOND_US, ascending = true),
    // Heat: thirds of the ladder allowed at levels 0..4, headroom of levels 1..4, and how levels fall.
    THERMAL_THIRDS(0, 3, 5, 3, 3, 2, 1, 0),
    HEADROOM_MILLI(1, 1_000_000, 4, 850, 950, 1000, 1150, ascending = true),
    HEADROOM_HYSTERESIS_MILLI(0, 1_000_000, 0, 50),
    LEVEL_FALL_US(0, DAY_US, 0, 20 * SECOND_US),
    HEAT_MEMORY_US(0, DAY_US, 0, 120 * SECOND_US),
    VETO_LEVEL(1, 5, 0, 3),
    // Battery: permille below which a band holds, its thirds, and the share to climb out of a band.
    BATTERY_PERMILLE(0, 1000, 3, 50, 100, 200, ascending = true),
    BATTERY_THIRDS(0, 3, 4, 0, 1, 2, 3, ascending = true),
    BATTERY_HYSTERESIS_PERMILLE(0, 1000, 0, 20),
    LOW_POWER_THIRDS(0, 3, 0, 1),
    // Frames skipped when even the narrowest misses, and at least at thermal level 4.
    MAX_SKIP(1, 8, 0, 8),
    CRITICAL_SKIP(1, 8, 0, 2);

    val key: String = name.map { if (it in 'A'..'Z') it + 32 else it }.joinToString("")
}

private const val SECOND_US = 1_000_000L
private const val DAY_US = 86_400L * SECOND_US

/**
 * How a controller weighs deadline, heat and battery: a preset, or a JSON document that overrides fields of one.
 *
 * ```
 * {"policy_version": 1, "base": "balanced", "name": "kiosk", "thermal_thirds": [3, 3, 1, 0, 0]}
 * ```
 *
 * Every field is a whole number or a list of them; `docs` and [toJson] have their names. Compared by content.
 */
public class Policy private constructor(public val name: String, private val values: Map<PolicyField, List<Long>>) {
    init {
        checkName()
        for (field in PolicyField.entries) checkRange(field)
        checkOrder()
    }

    internal operator fun get(field: PolicyField): Long = values.getValue(field)[0]

    internal fun list(field: PolicyField): LongArray = values.getValue(field).toLongArray()

    private fun checkName() {
        val plain =
            name.length in 1..64 &&
                name[0] in 'a'..'z' &&
                name.all { it in 'a'..'z' || it in '0'..'9' || it == '_' || it == '-' }
        if (!plain)
            throw PolicyException("policy-out-of-range", "name '${name.take(80)}' is not a short lower-case word")
    }

    private fun checkRange(field: PolicyField) {
        val items = values.getValue(field)
        if (items.size != maxOf(field.length, 1) || items.any { it < field.low || it > field.high }) {
            val wanted = if (field.length > 0) "${field.length} whole numbers" else "a whole number"
            throw PolicyException(
                "policy-out-of-range",
                "${field.key} is ${items.take(9)}, expected $wanted in [${field.low}, ${field.high}]",
            )
        }
    }

    private fun checkOrder() {
        for (field in PolicyField.entries.filter { it.ascending }) {
            if (values.getValue(field).zipWithNext().any { (low, high) -> low > high }) {
                throw PolicyException(
                    "policy-not-ascending",
                    "${field.key} is ${values[field]}, expected rising numbers",
                )
            }
        }
        if (values.getValue(PolicyField.THERMAL_THIRDS).zipWithNext().any { (low, high) -> low < high }) {
            throw PolicyException("policy-not-ascending", "thermal_thirds allow more when hotter")
        }
        if (this[PolicyField.HEADROOM_MILLI] <= this[PolicyField.HEADROOM_HYSTERESIS_MILLI]) { // unknown is no level
            throw PolicyException("policy-out-of-range", "headroom_hysteresis_milli reaches down to a headroom of 0")
        }
        for ((low, high) in PAIRS) {
            if (this[low] > this[high]) throw PolicyException("policy-not-ascending", "${low.key} is above ${high.key}")
        }
    }

    /** The rungs of [ladder] that this policy uses; at least one. */
    public fun select(ladder: Ladder): Ladder {
        val top = minOf(this[PolicyField.MAX_RUNG].toInt(), ladder.rungs.size - 1)
        val bottom = if (this[PolicyField.FIXED] == 1L) top else minOf(this[PolicyField.MIN_RUNG].toInt(), top)
        return ladder.copy(rungs = ladder.rungs.subList(bottom, top + 1).toList())
    }

    /** Canonical JSON with every field; reading it gives an equal policy. */
    public fun toJson(): String = StrictJson.canonical(mapOf("policy_version" to 1) + fields()) + "\n"

    internal fun fields(): JsonObject {
        val found = LinkedHashMap<String, Any?>()
        found["name"] = name
        for ((field, items) in values) found[field.key] = if (field.length > 0) items else items[0]
        return found
    }

    override fun equals(other: Any?): Boolean = other is Policy && name == other.name && values == other.values

    override fun hashCode(): Int = 31 * name.hashCode() + values.hashCode()

    override fun toString(): String = "Policy($name)"

    public companion object {
        private val PAIRS =
            listOf(
                PolicyField.MIN_RUNG to PolicyField.MAX_RUNG,
                PolicyField.K_MIN to PolicyField.K_START,
                PolicyField.K_START to PolicyField.K_MAX,
            )
        private val BY_KEY = PolicyField.entries.associateBy { it.key }

        /** The default. */
        @JvmField
        public val BALANCED: Policy = Policy("balanced", PolicyField.entries.associateWith { it.default.toList() })

        /** A third of the ladder on battery, two thirds on the charger; cooler: half the energy. */
        @JvmField
        public val BATTERY_SAVER: Policy =
            BALANCED.with(
                "battery_saver",
                PolicyField.THERMAL_THIRDS to listOf(3, 2, 1, 0, 0),
                PolicyField.BATTERY_PERMILLE to listOf(50, 150, 900),
                PolicyField.BATTERY_THIRDS to listOf(0, 0, 1, 2),
                PolicyField.LOW_POWER_THIRDS to listOf(0),
            )

        /** Wide for as long as the platform lets it. */
        @JvmField
        public val QUALITY: Policy =
            BALANCED.with(
                "quality",
                PolicyField.THERMAL_THIRDS to listOf(3, 3, 3, 1, 0),
                PolicyField.BATTERY_PERMILLE to listOf(20, 50, 100),
                PolicyField.LOW_POWER_THIRDS to listOf(2),
            )

        /** One rung, the widest: measured and reported, never changed. */
        @JvmField public val FIXED: Policy = BALANCED.with("fixed", PolicyField.FIXED to listOf(1))

        private val PRESETS = listOf(BALANCED, BATTERY_SAVER, QUALITY, FIXED).associateBy { it.name }

        private fun Policy.with(name: String, vararg changes: Pair<PolicyField, List<Long>>) =
            Policy(name, values + changes)

        /**
         * The preset called [name].
         *
         * @throws PolicyException `policy-unknown-preset`.
         */
        @JvmStatic
        public fun preset(name: String): Policy =
            PRESETS[name]
                ?: throw PolicyException(
                    "policy-unknown-preset",
                    "there is no preset '${name.take(80)}'",
                    hint = "presets are ${PRESETS.keys.joinToString()}",
                )

        /**
         * A preset with overrides.
         *
         * @throws PolicyException `policy-not-json`, `policy-unknown-version`, `policy-unknown-preset`,
         *   `policy-unknown-field`, `policy-wrong-type`, `policy-out-of-range` or `policy-not-ascending`.
         */
        @JvmStatic
        public fun fromJson(text: String): Policy =
            fromDocument(
                try {
                    StrictJson.parse(text)
                } catch (error: StrictJsonException) {
                    throw PolicyException("policy-not-json", error.message!!)
                }
            )

        /** As [fromJson], of JSON that is parsed already: a policy inside another document. */
        @JvmStatic
        public fun fromDocument(document: Any?): Policy {
            if (document !is Map<*, *>) throw PolicyException("policy-wrong-type", "a policy is a JSON object")
            val version = document["policy_version"]
            if (version != 1L) throw PolicyException("policy-unknown-version", "policy_version is $version, expected 1")
            val base = document["base"].let { if (document.containsKey("base")) it else "balanced" }
            val preset = preset(base as? String ?: throw PolicyException("policy-unknown-preset", "base is no text"))
            var name = preset.name
            val values = LinkedHashMap(preset.values)
            for ((key, value) in document) {
                if (key == "policy_version" || key == "base") continue
                if (key == "name") {
                    name = value as? String ?: throw PolicyException("policy-wrong-type", "name is no text")
                    continue
                }
                val field =
                    BY_KEY[key] ?: throw PolicyException("policy-unknown-field", "'$key' is no field of a policy")
                values[field] = numbers(field, value)
            }
            return Policy(name, values)
        }

        private fun numbers(field: PolicyField, value: Any?): List<Long> {
            val items = if (field.length > 0) value as? List<*> else listOf(value)
            if (items == null || !items.all { it is Long || it is java.math.BigInteger }) {
                throw PolicyException("policy-wrong-type", "${field.key} is $value, expected whole numbers")
            }
            // What is beyond 64 bits is beyond every range too.
            return items.map {
                it as? Long ?: if ((it as java.math.BigInteger).signum() < 0) Long.MIN_VALUE else Long.MAX_VALUE
            }
        }
    }
}
