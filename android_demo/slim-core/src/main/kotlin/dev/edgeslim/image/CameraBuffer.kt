package dev.edgeslim.image

import java.nio.ByteBuffer

/** How a camera lays out its samples (PIXELS.md §1); [text] is its name everywhere. */
public enum class CameraFormat(
    public val text: String,
    internal val planes: Int,
    /** Plane, offset and packed pixel stride of Y, U, V, or of red, green, blue, or of gray. */
    internal val samples: List<IntArray>,
) {
    NV12("nv12", 2, listOf(intArrayOf(0, 0, 1), intArrayOf(1, 0, 2), intArrayOf(1, 1, 2))),
    NV21("nv21", 2, listOf(intArrayOf(0, 0, 1), intArrayOf(1, 1, 2), intArrayOf(1, 0, 2))),

    /** Android's `YUV_420_888` is this with the strides it tells. */
    I420("i420", 3, listOf(intArrayOf(0, 0, 1), intArrayOf(1, 0, 1), intArrayOf(2, 0, 1))),
    RGB("rgb", 1, listOf(intArrayOf(0, 0, 3), intArrayOf(0, 1, 3), intArrayOf(0, 2, 3))),
    BGR("bgr", 1, listOf(intArrayOf(0, 2, 3), intArrayOf(0, 1, 3), intArrayOf(0, 0, 3))),
    RGBA("rgba", 1, listOf(intArrayOf(0, 0, 4), intArrayOf(0, 1, 4), intArrayOf(0, 2, 4))),
    BGRA("bgra", 1, listOf(intArrayOf(0, 2, 4), intArrayOf(0, 1, 4), intArrayOf(0, 0, 4))),
    GRAY("gray", 1, listOf(intArrayOf(0, 0, 1)));

    internal val yuv: Boolean
        get() = ordinal <= 2
}

/** Which colours Y, U and V mean; [text] is its name everywhere. */
public enum class ColourMatrix(public val text: String) {
    BT601("bt601"),
    BT709("bt709"),
}

/**
 * Bytes of a camera: sample (x, y) is at `y · rowStride + x · pixelStride` from the buffer's position. No bytes are
 * needed after the last sample.
 *
 * @property pixelStride bytes from sample to sample; 0: as close as the format has them.
 */
public class Plane
@JvmOverloads
constructor(public val bytes: ByteBuffer, public val rowStride: Long, public val pixelStride: Long = 0)

/**
 * One frame as the camera gives it.
 *
 * @property width in pixels, before it is turned.
 * @property height in pixels, before it is turned.
 * @property planes Y and interleaved chroma; Y, U and V; or one.
 * @property matrix matters to YUV, as does [range].
 * @property rotation degrees to turn the frame clockwise until it is upright: 0, 90, 180 or 270.
 * @property mirror whether left and right are exchanged after that.
 */
public class CameraBuffer
@JvmOverloads
constructor(
    public val format: CameraFormat,
    public val width: Int,
    public val height: Int,
    public val planes: List<Plane>,
    public val matrix: ColourMatrix = ColourMatrix.BT601,
    public val range: PixelRange = PixelRange.FULL,
    public val rotation: Int = 0,
    public val mirror: Boolean = false,
) {
    private class YuvRule(
        val black: Int,
        val luma: Int,
        val redV: Int,
        val greenU: Int,
        val greenV: Int,
        val blueU: Int,
    )

    /** One sample per pixel: where the first is, and the steps along rows and columns. */
    private class Samples(val bytes: ByteBuffer, val first: Int, val rowStride: Int, val step: Int) {
        fun at(row: Int, column: Int): Int = bytes.get(first + row * rowStride + column * step).toInt() and 0xff
    }

    /** Writes pixels upright: where pixel (0, 0) goes, and the steps along rows and columns of the frame. */
    private class Turn(val first: Int, val alongRow: Int, val alongColumn: Int, val width: Int, val height: Int)

    /**
     * The frame upright: red, green and blue, or gray.
     *
     * @throws ImageException `bad-buffer`: planes that do not hold the frame, an odd turn; `too-large`.
     */
    public fun upright(): PixelImage {
        if (width < 1 || height < 1) throw ImageException("bad-buffer", "a frame of ${width}x$height px")
        PixelImage.checkSize(height.toLong(), width.toLong(), "the frame")
        if (planes.size != format.planes) {
            throw ImageException("bad-buffer", "${format.text} has ${format.planes} planes, got ${planes.size}")
        }
        val channels = if (format == CameraFormat.GRAY) 1 else 3
        val turn = turn(channels)
        val out = ByteArray(width * height * channels)
        if (format.yuv) yuv(out, turn) else packed(out, turn, channels)
        return PixelImage(turn.width, turn.height, channels, out)
    }

    private fun turn(channels: Int): Turn {
        if (rotation != 0 && rotation != 90 && rotation != 180 && rotation != 270) {
            throw ImageException("bad-buffer", "a frame is turned by 0, 90, 180 or 270 degrees, got $rotation")
        }
        val sideways = rotation == 90 || rotation == 270
        val wide = if (sideways) height else width
        val high = if (sideways) width else height
        // Where pixel (row, column) of the frame goes, as row · alongRow + column · alongColumn + first.
        fun place(row: Int, column: Int): Int {
            val (r, c) =
                when (rotation) {
                    0 -> Pair(row, column)
                    90 -> Pair(column, height - 1 - row)
                    180 -> Pair(height - 1 - row, width - 1 - column)
                    else -> Pair(width - 1 - column, row)
                }
            return (r * wide + (if (mirror) wide - 1 - c else c)) * channels
        }
        val first = place(0, 0)
        val alongRow = if (height > 1) place(1, 0) - first else 0
        val alongColumn = if (width > 1) place(0, 1) - first else 0
        return Turn(first, alongRow, alongColumn, wide, high)
    }

    private fun samples(index: Int, rows: Int, columns: Int): Samples {
        val (planeIndex, offset, packed) = format.samples[index].let { Triple(it[0], it[1], it[2]) }
        val plane = planes[planeIndex]
        val step = if (plane.pixelStride == 0L) packed.toLong() else plane.pixelStride
        val stride = plane.rowStride
        if (step < packed || step > stride || stride > Int.MAX_VALUE || stride < step * (columns - 1) + packed) {
            throw ImageException(
                "bad-buffer",
                "plane $planeIndex has a row stride of $stride and a pixel stride of $step for $columns samples of $packed bytes",
            )
        }
        val needed = offset + (rows - 1) * stride + (columns - 1) * step + 1
        if (plane.bytes.remaining() < needed) {
            throw ImageException(
                "bad-buffer",
                "plane $planeIndex has ${plane.bytes.remaining()} bytes, expected at least $needed",
            )
        }
        return Samples(plane.bytes, plane.bytes.position() + offset, stride.toInt(), step.toInt())
    }

    private fun packed(out: ByteArray, turn: Turn, channels: Int) {
        for (channel in 0 until channels) {
            val from = samples(channel, height, width)
            for (row in 0 until height) {
                var to = turn.first + row * turn.alongRow + channel
                for (column in 0 until width) {
                    out[to] = from.at(row, column).toByte()
                    to += turn.alongColumn
                }
            }
        }
    }

    private fun yuv(out: ByteArray, turn: Turn) {
        val half = Pair((height + 1) / 2, (width + 1) / 2)
        val y = samples(0, height, width)
        val u = samples(1, half.first, half.second)
        val v = samples(2, half.first, half.second)
        val rule = RULES.getValue(Pair(matrix, range))
        for (row in 0 until height) {
            var to = turn.first + row * turn.alongRow
            for (column in 0 until width) {
                val luma = (y.at(row, column) - rule.black) * rule.luma + 32768
                val blueish = u.at(row / 2, column / 2) - 128
                val reddish = v.at(row / 2, column / 2) - 128
                out[to] = byte(luma + rule.redV * reddish)
                out[to + 1] = byte(luma - rule.greenU * blueish - rule.greenV * reddish)
                out[to + 2] = byte(luma + rule.blueU * blueish)
                to += turn.alongColumn
            }
        }
    }

    private fun byte(sum: Int): Byte = minOf(maxOf(sum shr 16, 0), 255).toByte()

    private companion object {
        /** In 65536ths. */
        val RULES =
            mapOf(
                Pair(ColourMatrix.BT601, PixelRange.FULL) to YuvRule(0, 65536, 91881, 22553, 46802, 116130),
                Pair(ColourMatrix.BT601, PixelRange.VIDEO) to YuvRule(16, 76309, 104597, 25675, 53279, 132201),
                Pair(ColourMatrix.BT709, PixelRange.FULL) to YuvRule(0, 65536, 103206, 12276, 30679, 121609),
                Pair(ColourMatrix.BT709, PixelRange.VIDEO) to YuvRule(16, 76309, 117489, 13975, 34925, 138438),
            )
    }
}
