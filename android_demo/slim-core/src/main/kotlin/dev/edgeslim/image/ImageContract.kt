package dev.edgeslim.image

import dev.edgeslim.SlimException
import dev.edgeslim.format.CanonicalJson

/**
 * An image or an input breaks a rule of PIXELS.md.
 *
 * @property rule `bad-contract`, `bad-buffer`, `bad-image` or `too-large`.
 */
public class ImageException(public val rule: String, message: String, hint: String? = null) :
    SlimException(message, hint) {
    override val brokenRule: String
        get() = rule
}

/** Order of an input's channels; [text] stands in bundles. */
public enum class ChannelOrder(public val text: String, public val channels: Int) {
    RGB("rgb", 3),
    BGR("bgr", 3),
    GRAY("gray", 1),
}

/** How an image of another size gets to the input's; [text] stands in bundles. */
public enum class Resize(public val text: String) {
    /** The ratio is kept and the input covered. */
    SHORT_SIDE("short_side"),

    /** The ratio is not kept. */
    STRETCH("stretch"),

    /** The ratio is kept, all of the image fits, the rest is filled. */
    LETTERBOX("letterbox"),
}

/** How pixels between pixels are found; [text] stands in bundles. */
public enum class Interpolation(public val text: String) {
    NEAREST("nearest"),
    BILINEAR("bilinear"),
    BICUBIC("bicubic"),
}

/** Which bytes black and white are; [text] stands in bundles. */
public enum class PixelRange(public val text: String) {
    /** 0…255. */
    FULL("full"),

    /** 16…235. */
    VIDEO("video"),
}

/**
 * What a net wants to see, and how an image of any size gets there (PIXELS.md, "The contract").
 *
 * @property channels of the input, 1 or 3.
 * @property height of the input in pixels, 1 to 65,536.
 * @property width of the input in pixels, 1 to 65,536.
 * @property mean decimal texts for pixels scaled to 0…1, one per channel in the order of the input's channels.
 * @property std as [mean]; above 0.
 * @property crop decimal text above 0, at most 1: the share of the resized image that the input shows.
 * @property antialias whether an image that becomes smaller is smoothed.
 * @property range of the pixels that the net was trained with.
 * @property pad the byte around a letterbox.
 * @throws ImageException `bad-contract`.
 */
public data class ImageContract(
    val channels: Int,
    val height: Int,
    val width: Int,
    val order: ChannelOrder,
    val mean: List<String>,
    val std: List<String>,
    val resize: Resize,
    val crop: String,
    val interpolation: Interpolation,
    val antialias: Boolean,
    val range: PixelRange,
    val pad: Int,
) {
    init {
        complaint()?.let { throw ImageException("bad-contract", it) }
    }

    /** [crop] in billionths. */
    internal val cropBillionths: Long
        get() = billionths(crop)

    private fun complaint(): String? {
        if (channels !in 1..MAX_SIDE || height !in 1..MAX_SIDE || width !in 1..MAX_SIDE) {
            return "an input of ${channels}x${height}x$width, expected 1 to $MAX_SIDE each"
        }
        if (height.toLong() * width > MAX_PIXELS) {
            return "an input of ${height}x$width px, expected at most $MAX_PIXELS px"
        }
        if (order.channels != channels) {
            return "${order.text} has ${order.channels} channels, the input has $channels"
        }
        for (numbers in listOf(mean, std)) {
            if (numbers.size != channels || !numbers.all(CanonicalJson::isDecimal)) {
                return "mean and std are one decimal text per channel, got ${numbers.take(4)}".take(200)
            }
        }
        if (std.any { it.toDouble() <= 0 }) return "std must be above 0, got $std".take(200)
        if (!CanonicalJson.isDecimal(crop) || crop[0] == '-' || billionths(crop) !in 1..1_000_000_000L) {
            return "crop is a decimal text above 0 and at most 1, got '$crop'".take(200)
        }
        if (resize == Resize.LETTERBOX && crop != "1") {
            return "a letterbox shows the whole image: its crop is 1, not $crop"
        }
        if (antialias && interpolation == Interpolation.NEAREST) return "antialias is false for nearest"
        if (pad !in 0..255) return "pad is a byte, got $pad"
        return null
    }

    internal companion object {
        const val MAX_SIDE: Int = 65_536
        const val MAX_PIXELS: Long = 1L shl 26

        /** A decimal text that is not negative, exactly: `0.875` becomes 875,000,000. */
        fun billionths(text: String): Long {
            val whole = text.substringBefore('.')
            val part = text.substringAfter('.', "")
            return whole.toLong() * 1_000_000_000L + part.padEnd(9, '0').toLong()
        }
    }
}
