package dev.edgeslim.control

import dev.edgeslim.WidthException

/**
 * A width multiplier in permille: `Width(350)` is 0.35x.
 *
 * @property permille 1 to 100,000.
 * @throws WidthException outside of that.
 */
public data class Width(val permille: Int) : Comparable<Width> {
    init {
        if (permille !in 1..MAX_PERMILLE) {
            throw WidthException("a width is a whole number of permille in [1, $MAX_PERMILLE], got $permille")
        }
    }

    override fun compareTo(other: Width): Int = permille.compareTo(other.permille)

    /** A decimal with at least one place: `0.35`, `1.0`. */
    override fun toString(): String {
        val digits = (permille % 1000).toString().padStart(3, '0').trimEnd('0')
        return "${permille / 1000}.${digits.ifEmpty { "0" }}"
    }

    /**
     * Channels of a layer that has [full] channels at 1.0x, rounded to [divisor]: the nearest multiple (half up), at
     * least 1, one [divisor] more if that fell below 0.9 of the exact value.
     */
    public fun channels(full: Long, divisor: Long = 8): Long {
        val exact = full * permille
        var rounded = maxOf(1L, Math.floorDiv(exact + 500 * divisor, 1000 * divisor) * divisor)
        if (rounded * 10_000 < 9 * exact) rounded += divisor
        return rounded
    }

    /** Channels without rounding to a divisor: `full · width`, rounded down, at least 1. */
    public fun channelsFloor(full: Long): Long = maxOf(1L, Math.floorDiv(full * permille, 1000L))

    public companion object {
        public const val MAX_PERMILLE: Int = 100_000

        /**
         * Reads a decimal with at most three places exactly: `0.35` is `Width(350)`.
         *
         * @throws WidthException no plain decimal, zero, or more than three places.
         */
        @JvmStatic
        public fun parse(text: String): Width {
            val plain = text.trim(' ', '\t', '\r', '\n')
            val whole = plain.substringBefore('.')
            val part = if ('.' in plain) plain.substringAfter('.') else "0"
            if (!digits(whole) || !digits(part)) {
                throw WidthException(
                    "cannot read width '$text': expected a decimal with at most three places",
                    hint = "write widths like 0.35 or 0.975",
                )
            }
            return Width(whole.toInt() * 1000 + part.padEnd(3, '0').toInt())
        }

        /**
         * Reads a list of widths, ascending and without repetitions: `a,b,c`, `lo:hi:step` (with `hi` where it is on
         * the grid), or a whole number of at least 2: so many widths evenly spaced over [trained].
         *
         * @throws WidthException unreadable, empty, step 0, lo above hi, or a number without a trained range.
         */
        @JvmStatic
        @JvmOverloads
        public fun parseList(text: String, trained: Pair<Width, Width>? = null): List<Width> {
            val plain = text.trim(' ', '\t', '\r', '\n')
            if (':' in plain) return range(plain)
            val count = if (plain.length in 1..9 && plain.all { it in '0'..'9' }) plain.toInt() else 0
            if (count >= 2) return spread(count, trained)
            if (plain.isEmpty()) throw WidthException("no width given", hint = "write widths like 0.25,0.5,1.0")
            return plain.split(',').mapTo(java.util.TreeSet(), ::parse).toList()
        }

        private fun range(text: String): List<Width> {
            val parts = text.split(':')
            if (parts.size != 3) throw WidthException("cannot read widths '$text': a range is lo:hi:step")
            val (low, high, step) = parts.map(::parse)
            if (low > high) throw WidthException("cannot read widths '$text': $low is above $high")
            return (low.permille..high.permille step step.permille).map(::Width)
        }

        private fun spread(count: Int, trained: Pair<Width, Width>?): List<Width> {
            val (low, high) =
                trained
                    ?: throw WidthException("'$count' asks for widths of the trained range, which is not known here")
            if (count > 1000) throw WidthException("cannot spread $count widths: at most 1000")
            val span = high.permille.toLong() - low.permille
            val steps = 2L * (count - 1)
            return (0 until count)
                .map { low.permille + ((2 * it * span + count - 1) / steps).toInt() }
                .distinct()
                .map(::Width)
        }

        private fun digits(text: String): Boolean = text.length in 1..3 && text.all { it in '0'..'9' }

        /** Id of the net whose smallest width is this: at least four digits. */
        internal fun netId(permille: Int): String = permille.toString().padStart(4, '0')
    }
}
