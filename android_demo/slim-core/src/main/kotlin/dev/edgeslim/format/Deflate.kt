package dev.edgeslim.format

import java.io.Closeable
import java.nio.ByteBuffer
import java.util.zip.DataFormatException
import java.util.zip.Inflater

/** Deflated parts of a bundle: zlib streams (RFC 1950) whose inflated size is declared elsewhere (FORMAT.md §7). */
internal object Deflate {
    const val BLOCK_BYTES: Int = 8192
    const val BASE_BEFORE_BYTES: Int = 4096
    const val DICTIONARY_BYTES: Int = 16_384
    private const val MAX_RATIO = 1032L // deflate cannot do better
    private const val CHUNK_BYTES = 1 shl 16
    private const val PRESET = 0x20 // the bit FDICT of a stream's second byte

    /** Refuses a declared size that [storedBytes] cannot inflate to, before anything is allocated for it. */
    fun checkRatio(storedBytes: Int, sizeBytes: Long, what: String) {
        if (sizeBytes > storedBytes * MAX_RATIO) {
            refuse("inflate-limit", "$what declares $sizeBytes bytes, $storedBytes deflated ones cannot hold them")
        }
    }

    /**
     * The content of one zlib stream that holds exactly [sizeBytes].
     *
     * Throws [FormatException]: `inflate-limit`, `bad-deflate`.
     */
    fun inflated(stored: ByteBuffer, sizeBytes: Long, what: String): ByteArray {
        checkRatio(stored.remaining(), sizeBytes, what)
        val content = ByteArray(sizeBytes.toInt())
        val inflater = Inflater()
        try {
            val end = stream(inflater, stored, 0, content, content.size, ByteArray(0), 0, what)
            if (end != stored.remaining()) refuse("bad-deflate", "$what: bytes after the end of the zlib stream")
        } finally {
            inflater.end()
        }
        return content
    }

    /**
     * Inflates the stream that begins at [at] of [stored] into the first [size] bytes of [into].
     *
     * @return where the stream ends.
     */
    fun stream(
        inflater: Inflater,
        stored: ByteBuffer,
        at: Int,
        into: ByteArray,
        size: Int,
        dictionary: ByteArray,
        dictionaryBytes: Int,
        what: String,
    ): Int {
        val end = stored.remaining()
        if (at + 1 < end && (stored.get(stored.position() + at + 1).toInt() and PRESET != 0) != (dictionaryBytes > 0)) {
            refuse("bad-deflate", "$what: a preset dictionary is ${if (dictionaryBytes > 0) "missing" else "not due"}")
        }
        inflater.reset()
        val source = stored.duplicate()
        source.position(stored.position() + at)
        val chunk = ByteArray(minOf(CHUNK_BYTES, maxOf(1, minOf(end - at, size + 64))))
        val over = ByteArray(1) // one byte more than allowed, to see that nothing follows
        var count = 0
        try {
            while (!inflater.finished()) {
                if (inflater.needsInput()) {
                    val length = minOf(chunk.size, source.remaining())
                    if (length == 0) refuse("bad-deflate", "$what ends too early")
                    source.get(chunk, 0, length)
                    inflater.setInput(chunk, 0, length)
                }
                val found =
                    if (count < size) inflater.inflate(into, count, size - count) else inflater.inflate(over, 0, 1)
                if (found > 0 && count == size) refuse("inflate-limit", "$what inflates to more than it declares")
                count += found
                if (found == 0 && inflater.needsDictionary()) inflater.setDictionary(dictionary, 0, dictionaryBytes)
            }
        } catch (error: DataFormatException) {
            refuse("bad-deflate", "$what: ${error.message}")
        } catch (_: IllegalArgumentException) {
            refuse("bad-deflate", "$what: another dictionary is due")
        }
        if (count != size) refuse("bad-deflate", "$what ends too early")
        return at + inflater.bytesRead.toInt()
    }
}

/**
 * Reads a template block by block, keeping a few blocks in memory.
 *
 * All methods throw [FormatException]: `inflate-limit`, `bad-deflate`.
 *
 * @param sizeBytes the declared size.
 * @param base reads the base; null for a template without. This reader moves it along and closes it.
 */
internal class TemplateReader(
    private val stored: ByteBuffer,
    sizeBytes: Long,
    private val what: String,
    private val base: TemplateReader?,
) : Closeable {
    private val inflater = Inflater()
    private val size: Int
    private var at = 0 // in what is stored
    private var done = 0 // bytes inflated so far
    private val block = ByteArray(Deflate.BLOCK_BYTES)
    private var blockAt = 0
    private var blockEnd = 0
    private val before = ByteArray(Deflate.DICTIONARY_BYTES) // the last bytes inflated
    private var beforeBytes = 0
    private val window = ByteArray(if (base == null) 0 else Deflate.DICTIONARY_BYTES) // what is needed of the base
    private var windowAt = 0
    private var windowBytes = 0
    private val dictionary = ByteArray(2 * Deflate.DICTIONARY_BYTES)

    init {
        Deflate.checkRatio(stored.remaining(), sizeBytes, what)
        size = sizeBytes.toInt()
    }

    /** Hands out [count] more bytes, in pieces: array, offset, length. */
    inline fun read(count: Long, each: (ByteArray, Int, Int) -> Unit) {
        var left = count
        while (left > 0) {
            val length = available(left)
            each(piece, blockAtThenSkip(length), length)
            left -= length
        }
    }

    /** What [available] bytes are in. */
    val piece: ByteArray
        get() = block

    /** How many of [wanted] bytes are ready, at least one. */
    fun available(wanted: Long): Int {
        if (blockAt == blockEnd) inflateBlock()
        return minOf(wanted, (blockEnd - blockAt).toLong()).toInt()
    }

    /** Where the next bytes are in [piece]; they count as read. */
    fun blockAtThenSkip(count: Int): Int {
        blockAt += count
        return blockAt - count
    }

    /** The template must end here. */
    fun finish() {
        if (blockAt != blockEnd || done != size || at != stored.remaining()) {
            refuse("bad-deflate", "$what is longer than what is used of it")
        }
    }

    override fun close() {
        inflater.end()
        base?.close()
    }

    private fun inflateBlock() {
        val count = minOf(Deflate.BLOCK_BYTES, size - done)
        if (count == 0) refuse("bad-deflate", "$what ends too early")
        val fromBase = fromBase()
        System.arraycopy(before, 0, dictionary, fromBase, beforeBytes)
        at = Deflate.stream(inflater, stored, at, block, count, dictionary, fromBase + beforeBytes, what)
        done += count
        blockAt = 0
        blockEnd = count
        remember(count)
    }

    private fun remember(count: Int) {
        val kept = minOf(beforeBytes, before.size - count)
        System.arraycopy(before, beforeBytes - kept, before, 0, kept)
        System.arraycopy(block, 0, before, kept, count)
        beforeBytes = kept + count
    }

    /** Puts what the base has near this place into the dictionary; returns how much. */
    private fun fromBase(): Int {
        if (base == null) return 0
        val first = maxOf(0, done - Deflate.BASE_BEFORE_BYTES)
        val gone = minOf(first - windowAt, windowBytes)
        windowBytes -= gone
        System.arraycopy(window, gone, window, 0, windowBytes)
        windowAt = first
        windowBytes += base.readAtMost(window, windowBytes, window.size - windowBytes)
        System.arraycopy(window, 0, dictionary, 0, windowBytes)
        return windowBytes
    }

    private fun readAtMost(into: ByteArray, offset: Int, count: Int): Int {
        val wanted = minOf(count, size - done + blockEnd - blockAt)
        var to = offset
        read(wanted.toLong()) { piece, from, length ->
            System.arraycopy(piece, from, into, to, length)
            to += length
        }
        return wanted
    }
}
