package dev.edgeslim.control

import dev.edgeslim.json.Fields
import dev.edgeslim.json.JsonObject
import dev.edgeslim.json.StrictJsonException

/**
 * Why something was decided: a code with parameters. An app has a string per code; [sentence] is the English one.
 *
 * @property code a word with underscores, as resource names need.
 * @property params whole numbers ([Long]) and texts.
 */
public data class Reason(val code: String, val params: Map<String, Any> = emptyMap()) {
    /** English, without a full stop. A code that this version does not know is shown as it is. */
    public fun sentence(): String {
        val text = SENTENCES[code] ?: return code
        val out = StringBuilder()
        var at = 0
        while (at < text.length) {
            val open = text.indexOf('{', at)
            if (open < 0) break
            val close = text.indexOf('}', open)
            out.append(text, at, open).append(params[text.substring(open + 1, close)])
            at = close + 1
        }
        return out.append(text, at, text.length).toString()
    }

    internal fun json(): JsonObject = mapOf("code" to code, "params" to params)

    public companion object {
        internal fun read(value: Any?, where: String): Reason =
            with(Fields(value, where)) {
                val params =
                    free("params").mapValues { (name, item) -> item ?: throw StrictJsonException("$name is null") }
                if (has("sentence")) text("sentence")
                Reason(text("code"), params).also { finish() }
            }

        internal fun of(code: String, vararg params: Pair<String, Any>): Reason = Reason(code, mapOf(*params))

        /** Every code with its sentence, parameters in braces. */
        @JvmField
        public val SENTENCES: Map<String, String> =
            mapOf(
                // what a decision does
                "starts" to "starts at {to}",
                "narrows" to "narrowed to {to}",
                "widens" to "widened to {to}",
                "stays" to "stays at {to}",
                "skips" to "runs one frame of {every}",
                // why, in the order of the decision's bits
                "latency" to "the wider net would miss the deadline",
                "panic" to "two misses in a row, the estimate was wrong",
                "thermal" to "thermal level {level} caps at {cap}",
                "forecast" to "the heat forecast caps at {cap}",
                "battery" to "the battery caps at {cap}",
                "low_power" to "low-power mode caps at {cap}",
                "power_budget" to "the power budget caps at {cap}",
                "user" to "the app caps at {cap}",
                "hold" to "a wider net would fit but waits",
                "infeasible" to "no rung meets the deadline",
                "widened" to "a wider net fits",
                // why an artifact is no rung
                "not_measured" to "not measured: {why}",
                "not_valid" to "not valid: {why}",
                "no_worth" to "its {metric} is unknown, others have one",
                "beaten" to "{by} is no slower and worth no less",
                "too_close" to
                    "{percent} % of the time of {to}: too close, and the others are worth more for their time",
                "adds_little" to "slower than {to}, and worth hardly more",
                "not_loaded" to "{why}",
                // what a ladder stands on
                "all_doubtful" to "no row calls itself valid: the ladder stands on doubtful rows",
                "some_doubtful" to "{count} of {of} rows do not count, and are used all the same",
                "worth_is_macs" to "accuracies are unknown: multiply-adds stand in",
                "worth_is_width" to "accuracies are unknown: the width stands in, so every faster width is worth less",
                "worth_is_latency" to
                    "accuracies are unknown: the latency stands in, so every faster artifact is worth less",
                "energy_estimated" to "energy is estimated: {watts} W while an inference runs",
                "energy_raised" to "{label} measured less energy than {to}: raised to the same",
            )
    }
}
