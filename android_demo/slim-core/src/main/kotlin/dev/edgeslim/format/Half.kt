package dev.edgeslim.format

/** IEEE 754 binary16. */
internal object Half {
    private val table: FloatArray by lazy { FloatArray(1 shl 16) { exact(it) } }

    /** The float32 of the 16 bits in [bits]. */
    fun toFloat(bits: Short): Float = table[bits.toInt() and 0xffff]

    private fun exact(bits: Int): Float {
        val sign = (bits and 0x8000) shl 16
        val exponent = bits ushr 10 and 0x1f
        val fraction = bits and 0x3ff
        if (exponent == 0x1f) return Float.fromBits(sign or 0x7f800000 or (fraction shl 13))
        if (exponent != 0) return Float.fromBits(sign or ((exponent + 112) shl 23) or (fraction shl 13))
        val small = fraction * TINY // exact: at most ten bits, and a power of two
        return if (sign != 0) -small else small
    }

    private const val TINY = 1f / (1 shl 24)

    /** The 16 bits nearest to [value]: ties to even, subnormals kept, too large becomes infinity. */
    fun ofFloat(value: Float): Int {
        val bits = value.toRawBits()
        val sign = bits ushr 16 and 0x8000
        val size = bits and 0x7fffffff
        if (size >= 0x47800000) { // 65,536 and above, infinity, NaN
            if (size <= 0x7f800000) return sign or 0x7c00
            val payload = size ushr 13 and 0x3ff
            return sign or 0x7c00 or (if (payload == 0) 1 else payload)
        }
        if (size >= 0x38800000) { // a normal half: rounding may carry into the exponent, up to infinity
            val rounded = size + 0xfff + (size ushr 13 and 1)
            return sign or ((rounded - 0x38000000) ushr 13)
        }
        if (size <= 0x33000000) return sign // up to half of the smallest: zero
        val shift = 126 - (size ushr 23) // of the fraction with its leading one, to units of 2^-24
        val fraction = size and 0x7fffff or 0x800000
        val down = fraction ushr shift
        val rest = fraction and ((1 shl shift) - 1)
        val middle = 1 shl (shift - 1)
        return sign or (if (rest > middle || (rest == middle && down and 1 == 1)) down + 1 else down)
    }

    /** As [ofFloat], but what is not zero and would become 0 or the smallest half becomes that, with its own sign. */
    fun ofFloatCoreMl(value: Float): Int {
        val half = ofFloat(value)
        if (half and 0x7fff > 1 || !(Math.abs(value) > SMALLEST_FLOAT)) return half
        return if (value > 0) 1 else 0x8001
    }

    private const val SMALLEST_FLOAT = 1.4e-45f // 2^-149
}
