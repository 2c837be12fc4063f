package dev.edgeslim.image

/**
 * Resizing in fixed point, equal to Pillow's `resize` along one axis bit for bit (PIXELS.md §3): columns first, then
 * rows; after each pass there are bytes again.
 */
internal class Resample(private val interpolation: Interpolation, private val antialias: Boolean) {
    /** For some output pixels: the first source pixel, how many, and their coefficients, [taps] places per pixel. */
    private class Coefficients(val first: IntArray, val count: IntArray, val weights: IntArray, val taps: Int) {
        val low: Int = first[0]
        val high: Int = first.indices.maxOf { first[it] + count[it] }
    }

    private class Key(val size: Int, val resized: Int, val start: Int, val end: Int) {
        fun fits(size: Int, resized: Int, outputs: IntRange) =
            this.size == size && this.resized == resized && start == outputs.first && end == outputs.last
    }

    // A camera keeps its size: the last coefficients of each axis are the next ones too.
    private val known = arrayOfNulls<Pair<Key, Coefficients>>(2)

    /** Resizes [image] to [height] × [width] px and returns only these [rows] and [columns] of the result. */
    fun run(image: PixelImage, height: Int, width: Int, rows: IntRange, columns: IntRange): PixelImage {
        val wide = columns.count()
        val high = rows.count()
        val channels = image.channels
        if (image.height == height && image.width == width) return crop(image, rows, columns)
        if (interpolation == Interpolation.NEAREST) return nearest(image, height, width, rows, columns)
        val down = if (image.height == height) null else coefficients(0, image.height, height, rows)
        val across = if (image.width == width) null else coefficients(1, image.width, width, columns)
        val first = down?.low ?: rows.first
        val last = down?.high ?: (rows.last + 1)
        var pixels = image.bytes
        var from = first * image.width * channels // of the first row that is needed
        if (across != null) {
            pixels = across(pixels, from, last - first, image.width, channels, across)
            from = 0
        } else {
            from += columns.first * channels
        }
        val stride = if (across != null) wide * channels else image.width * channels
        val out =
            if (down == null) copy(pixels, from, stride, high, wide * channels)
            else down(pixels, from, stride, wide * channels, down, first)
        return PixelImage(wide, high, channels, out)
    }

    private fun crop(image: PixelImage, rows: IntRange, columns: IntRange): PixelImage {
        val stride = image.width * image.channels
        val wide = columns.count() * image.channels
        val from = rows.first * stride + columns.first * image.channels
        val bytes = copy(image.bytes, from, stride, rows.count(), wide)
        return PixelImage(columns.count(), rows.count(), image.channels, bytes)
    }

    private fun copy(pixels: ByteArray, from: Int, stride: Int, rows: Int, wide: Int): ByteArray {
        val out = ByteArray(rows * wide)
        for (row in 0 until rows) System.arraycopy(pixels, from + row * stride, out, row * wide, wide)
        return out
    }

    private fun nearest(image: PixelImage, height: Int, width: Int, rows: IntRange, columns: IntRange): PixelImage {
        val across = IntArray(columns.count()) { place(it + columns.first, image.width, width) }
        val channels = image.channels
        val out = ByteArray(rows.count() * across.size * channels)
        var to = 0
        for (row in rows) {
            val line = place(row, image.height, height) * image.width
            for (column in across) {
                for (channel in 0 until channels) out[to++] = image.bytes[(line + column) * channels + channel]
            }
        }
        return PixelImage(across.size, rows.count(), channels, out)
    }

    private fun place(output: Int, size: Int, resized: Int): Int = ((2L * output + 1) * size / (2L * resized)).toInt()

    private fun across(
        pixels: ByteArray,
        from: Int,
        rows: Int,
        width: Int,
        channels: Int,
        along: Coefficients,
    ): ByteArray {
        val wide = along.first.size
        val out = ByteArray(rows * wide * channels)
        var to = 0
        for (row in 0 until rows) {
            val line = from + row * width * channels
            for (output in 0 until wide) {
                val start = line + along.first[output] * channels
                val weight = output * along.taps
                for (channel in 0 until channels) {
                    var sum = HALF
                    var at = start + channel
                    for (tap in weight until weight + along.count[output]) {
                        sum += (pixels[at].toInt() and 0xff) * along.weights[tap]
                        at += channels
                    }
                    out[to++] = byte(sum)
                }
            }
        }
        return out
    }

    private fun down(
        pixels: ByteArray,
        from: Int,
        stride: Int,
        wide: Int,
        along: Coefficients,
        offset: Int,
    ): ByteArray {
        val out = ByteArray(along.first.size * wide)
        val sums = IntArray(wide)
        for (output in along.first.indices) {
            sums.fill(HALF)
            for (tap in 0 until along.count[output]) {
                val weight = along.weights[output * along.taps + tap]
                val line = from + (along.first[output] - offset + tap) * stride
                for (at in 0 until wide) sums[at] += (pixels[line + at].toInt() and 0xff) * weight
            }
            for (at in 0 until wide) out[output * wide + at] = byte(sums[at])
        }
        return out
    }

    private fun byte(sum: Int): Byte = minOf(maxOf(sum shr FRACTION_BITS, 0), 255).toByte()

    private fun coefficients(axis: Int, size: Int, resized: Int, outputs: IntRange): Coefficients {
        known[axis]?.let { (key, found) -> if (key.fits(size, resized, outputs)) return found }
        val made = make(size, resized, outputs)
        known[axis] = Pair(Key(size, resized, outputs.first, outputs.last), made)
        return made
    }

    /** Every float64 operation is rounded on its own, in this order. */
    private fun make(size: Int, resized: Int, outputs: IntRange): Coefficients {
        val scale = size.toDouble() / resized
        val stretch = if (antialias) maxOf(scale, 1.0) else 1.0
        val support = (if (interpolation == Interpolation.BILINEAR) 1.0 else 2.0) * stretch
        val inverse = 1.0 / stretch
        val total = outputs.count()
        val centres = DoubleArray(total) { (it + outputs.first + 0.5) * scale }
        val first = IntArray(total) { maxOf((centres[it] - support + 0.5).toInt(), 0) }
        val count = IntArray(total) { minOf((centres[it] + support + 0.5).toInt(), size) - first[it] }
        val taps = count.max()
        val weights = IntArray(total * taps)
        val values = DoubleArray(taps)
        for (output in 0 until total) {
            var sum = 0.0
            for (tap in 0 until count[output]) {
                values[tap] = filter(((tap + first[output]) - centres[output] + 0.5) * inverse)
                sum += values[tap]
            }
            for (tap in 0 until count[output]) {
                val exact = values[tap] / sum * ONE
                weights[output * taps + tap] = (if (exact < 0) exact - 0.5 else exact + 0.5).toInt()
            }
        }
        return Coefficients(first, count, weights, taps)
    }

    private fun filter(at: Double): Double {
        val x = Math.abs(at)
        return when {
            interpolation == Interpolation.BILINEAR -> if (x < 1.0) 1.0 - x else 0.0
            x < 1.0 -> (1.5 * x - 2.5) * x * x + 1.0
            x < 2.0 -> (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
            else -> 0.0
        }
    }

    private companion object {
        const val FRACTION_BITS = 22
        const val HALF = 1 shl 21
        const val ONE = 4194304.0
    }
}
