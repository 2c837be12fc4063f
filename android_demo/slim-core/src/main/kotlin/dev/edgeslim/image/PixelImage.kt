package dev.edgeslim.image

/**
 * A decoded image.
 *
 * @property width in pixels, 1 to 65,536; at most 2^26 pixels in all.
 * @property height in pixels.
 * @property channels 1 (gray) or 3 (red, green, blue).
 * @property bytes rows of pixels from the top, `height · width · channels` of them.
 * @throws ImageException `bad-image` or `too-large`.
 */
public class PixelImage(
    public val width: Int,
    public val height: Int,
    public val channels: Int,
    public val bytes: ByteArray,
) {
    init {
        if (width < 1 || height < 1 || (channels != 1 && channels != 3)) {
            throw ImageException("bad-image", "got ${width}x$height px of $channels channels, expected 1 or 3 channels")
        }
        checkSize(height.toLong(), width.toLong(), "the image")
        if (bytes.size.toLong() != width.toLong() * height * channels) {
            throw ImageException("bad-image", "got ${bytes.size} bytes for ${width}x$height px of $channels channels")
        }
    }

    /** Gray is repeated, red, green and blue become their luma. */
    internal fun withChannels(wanted: Int): PixelImage {
        if (channels == wanted) return this
        val pixels = width * height
        val found = ByteArray(pixels * wanted)
        if (wanted == 3) {
            for (at in found.indices) found[at] = bytes[at / 3]
        } else {
            for (at in 0 until pixels) {
                val red = bytes[3 * at].toInt() and 0xff
                val green = bytes[3 * at + 1].toInt() and 0xff
                val blue = bytes[3 * at + 2].toInt() and 0xff
                found[at] = ((red * 19595 + green * 38470 + blue * 7471 + 32768) shr 16).toByte()
            }
        }
        return PixelImage(width, height, wanted, found)
    }

    public companion object {
        /** An image of [pixels] as Android's `Bitmap.getPixels` gives them: 0xAARRGGBB, alpha is not looked at. */
        @JvmStatic
        public fun ofArgb(width: Int, height: Int, pixels: IntArray): PixelImage {
            val bytes = ByteArray(pixels.size * 3)
            for (at in pixels.indices) {
                bytes[3 * at] = (pixels[at] shr 16).toByte()
                bytes[3 * at + 1] = (pixels[at] shr 8).toByte()
                bytes[3 * at + 2] = pixels[at].toByte()
            }
            return PixelImage(width, height, 3, bytes)
        }

        internal fun checkSize(height: Long, width: Long, what: String) {
            val side = ImageContract.MAX_SIDE
            if (height > side || width > side || height * width > ImageContract.MAX_PIXELS) {
                throw ImageException(
                    "too-large",
                    "$what has ${width}x$height px, expected at most $side a side and ${ImageContract.MAX_PIXELS} in all",
                    hint = "make the image smaller first",
                )
            }
        }
    }
}
