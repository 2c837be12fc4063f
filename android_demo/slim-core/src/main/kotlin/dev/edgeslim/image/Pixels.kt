package dev.edgeslim.image

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/** The order of an input's axes; [name] stands in bundles. */
public enum class Layout {
    /** 1, channels, height, width. */
    NCHW,

    /** 1, height, width, channels. */
    NHWC,
}

/**
 * Pixels become a net's input, the same bytes in every language (PIXELS.md).
 *
 * ```
 * camera buffer ─ upright ─┐
 * decoded image ───────────┴► prepare: channels, resize, place, range, order ─► write ─► input
 * ```
 *
 * Keeps what it computed for the last size of image. One thread at a time.
 *
 * @property contract what the net wants to see.
 */
public class Pixels(public val contract: ImageContract) {
    private val resample = Resample(contract.interpolation, contract.antialias)

    /** What every byte of every channel means: byte / 255, minus mean, divided by std, rounded to float32 once. */
    private val values: Array<FloatArray> =
        Array(contract.channels) { channel ->
            val mean = contract.mean[channel].toDouble()
            val std = contract.std[channel].toDouble()
            FloatArray(256) { ((it / 255.0 - mean) / std).toFloat() }
        }

    private class Placement(val height: Int, val width: Int, val top: Int, val left: Int)

    /**
     * [image] as the net wants to see it: height × width px of its channels, as bytes.
     *
     * @throws ImageException `too-large`.
     */
    public fun prepare(image: PixelImage): PixelImage {
        val there = place(image.height, image.width)
        val rows = maxOf(there.top, 0) until minOf(there.top + contract.height, there.height)
        val columns = maxOf(there.left, 0) until minOf(there.left + contract.width, there.width)
        val shown = resample.run(image.withChannels(contract.channels), there.height, there.width, rows, columns)
        val placed =
            if (shown.height == contract.height && shown.width == contract.width) shown else padded(shown, there)
        if (contract.range == PixelRange.VIDEO) {
            for (at in placed.bytes.indices) placed.bytes[at] = TO_VIDEO[placed.bytes[at].toInt() and 0xff]
        }
        if (contract.order == ChannelOrder.BGR) {
            for (at in placed.bytes.indices step 3) {
                val red = placed.bytes[at]
                placed.bytes[at] = placed.bytes[at + 2]
                placed.bytes[at + 2] = red
            }
        }
        return placed
    }

    private fun padded(shown: PixelImage, there: Placement): PixelImage {
        val channels = contract.channels
        val bytes = ByteArray(contract.height * contract.width * channels)
        bytes.fill(contract.pad.toByte())
        val top = maxOf(-there.top, 0)
        val left = maxOf(-there.left, 0)
        val line = shown.width * channels
        for (row in 0 until shown.height) {
            System.arraycopy(shown.bytes, row * line, bytes, ((row + top) * contract.width + left) * channels, line)
        }
        return PixelImage(contract.width, contract.height, channels, bytes)
    }

    /** How an image is resized, and where the input lies on it. */
    private fun place(height: Int, width: Int): Placement {
        val rows = contract.height.toLong()
        val columns = contract.width.toLong()
        var high: Long
        var wide: Long
        if (contract.resize == Resize.LETTERBOX) {
            if (width * rows >= height * columns) {
                high = maxOf(1L, (2L * height * columns + width) / (2L * width))
                wide = columns
            } else {
                high = rows
                wide = maxOf(1L, (2L * width * rows + height) / (2L * height))
            }
        } else {
            high = rows * 1_000_000_000L / contract.cropBillionths
            wide = columns * 1_000_000_000L / contract.cropBillionths
            if (contract.resize == Resize.SHORT_SIDE) {
                if (width * high >= height * wide) wide = width * high / height else high = height * wide / width
            }
        }
        PixelImage.checkSize(high, wide, "the image of ${width}x$height px, resized,")
        return Placement(
            height = high.toInt(),
            width = wide.toInt(),
            top = between(high.toInt(), contract.height),
            left = between(wide.toInt(), contract.width),
        )
    }

    private fun between(have: Int, want: Int): Int = if (have >= want) (have - want) / 2 else -((want - have) / 2)

    /**
     * Prepares [image] and writes it as float32 from [into]'s position on.
     *
     * @throws ImageException `too-large`.
     */
    public fun write(image: PixelImage, layout: Layout, into: FloatBuffer) {
        val bytes = prepare(image).bytes
        val channels = contract.channels
        if (layout == Layout.NHWC) {
            for (at in bytes.indices) into.put(values[at % channels][bytes[at].toInt() and 0xff])
        } else {
            for (channel in 0 until channels) {
                val table = values[channel]
                for (at in channel until bytes.size step channels) into.put(table[bytes[at].toInt() and 0xff])
            }
        }
    }

    /** As [write], the bytes themselves: for a net that takes bytes. */
    public fun writeBytes(image: PixelImage, layout: Layout, into: ByteBuffer) {
        val bytes = prepare(image).bytes
        if (layout == Layout.NHWC) {
            into.put(bytes)
        } else {
            for (channel in 0 until contract.channels) {
                for (at in channel until bytes.size step contract.channels) into.put(bytes[at])
            }
        }
    }

    /**
     * The whole input as bytes in native order, as a variant of [dtype] and [layout] takes it.
     *
     * @throws ImageException `bad-contract`: another dtype or layout than `float32` or `uint8`, `NCHW` or `NHWC`.
     */
    public fun input(image: PixelImage, dtype: String, layout: String): ByteBuffer {
        val order = Layout.entries.firstOrNull { it.name == layout }
        if (order == null || (dtype != "float32" && dtype != "uint8")) {
            throw ImageException(
                "bad-contract",
                "an image goes in as float32 or uint8 in NCHW or NHWC, not as $dtype in $layout".take(200),
            )
        }
        val count = contract.channels * contract.height * contract.width
        val item = if (dtype == "float32") 4 else 1
        val buffer = ByteBuffer.allocateDirect(count * item).order(ByteOrder.nativeOrder())
        if (dtype == "float32") write(image, order, buffer.asFloatBuffer())
        else writeBytes(image, order, buffer.duplicate())
        return buffer
    }

    private companion object {
        val TO_VIDEO = ByteArray(256) { ((219 * it + 127) / 255 + 16).toByte() }
    }
}
