package dev.edgeslim.format

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class HalfTest {
    @Test
    fun `every half is read and written back`() {
        for (bits in 0..0xffff) {
            val value = Half.toFloat(bits.toShort())
            if (!value.isNaN()) assertEquals(bits, Half.ofFloat(value), "%04x".format(bits))
        }
        assertEquals(1.5f, Half.toFloat(0x3e00))
        assertEquals(-1f / (1 shl 24), Half.toFloat(0x8001.toShort()))
    }

    @Test
    fun `between two halves the nearest is taken and of a tie the even one`() {
        for (bits in 0..0x7bfe) {
            val low = Half.toFloat(bits.toShort()).toDouble()
            val high = Half.toFloat((bits + 1).toShort()).toDouble()
            val middle = ((low + high) / 2).toFloat()
            assertEquals((low + high) / 2, middle.toDouble())
            assertEquals(if (bits % 2 == 0) bits else bits + 1, Half.ofFloat(middle))
            assertEquals(bits, Half.ofFloat(Math.nextDown(middle)))
            assertEquals(bits + 1, Half.ofFloat(Math.nextUp(middle)))
            assertEquals(bits + 1 or 0x8000, Half.ofFloat(-Math.nextUp(middle)))
        }
        assertEquals(0x7bff, Half.ofFloat(65519.996f))
        assertEquals(0x7c00, Half.ofFloat(65520f))
        assertEquals(0xfc00, Half.ofFloat(Float.NEGATIVE_INFINITY))
        assertEquals(0, Half.ofFloat(1e-30f))
    }

    @Test
    fun `Core ML keeps small numbers from becoming zero`() {
        assertEquals(1, Half.ofFloatCoreMl(1e-30f))
        assertEquals(0x8001, Half.ofFloatCoreMl(-1e-30f))
        assertEquals(0, Half.ofFloatCoreMl(Float.MIN_VALUE))
        assertEquals(0x8000, Half.ofFloatCoreMl(-0f))
        assertEquals(0x3c00, Half.ofFloatCoreMl(1f))
    }
}
