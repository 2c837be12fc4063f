package dev.edgeslim.format

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Takes bytes one after another. */
internal fun interface ByteSink {
    fun write(bytes: ByteArray, offset: Int, count: Int)
}

/**
 * Makes the bytes of segments, in pieces of about 64 KB where axis 0 is the slowest, of a whole constant otherwise.
 * Keeps its arrays from segment to segment; not thread-safe.
 */
internal class SegmentWriter(private val net: NetConstants) {
    private var numbers = FloatArray(0)
    private var turned = FloatArray(0)
    private var ints = IntArray(0)
    private var turnedInts = IntArray(0)
    private val bytes = ByteArray(PIECE_BYTES)
    private val buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
    private val floatView = buffer.asFloatBuffer()
    private val intView = buffer.asIntBuffer()

    /** Throws [FormatException]: what the constant's numbers break, or `too-large`: they do not fit into memory. */
    fun write(segment: Segment, sink: ByteSink) {
        if (!segment.hashed) return content(segment, sink)
        val digest = Sha256.digest()
        content(segment) { bytes, offset, count -> digest.update(bytes, offset, count) }
        val digits = Sha256.hex(digest).toByteArray(Charsets.US_ASCII)
        sink.write(digits, 0, digits.size)
    }

    private fun content(segment: Segment, sink: ByteSink) {
        val cut = net.cuts[segment.master]
        val shape = segment.kind.shape(cut)
        val order = Layouts.order(segment.layout, shape.size)
        val row = shape.drop(1).fold(1L) { product, length -> product * length }
        val rowsAtOnce = if (order[0] == 0) maxOf(1L, PIECE_NUMBERS / row) else segment.rows.toLong()
        val most = minOf(rowsAtOnce, segment.rows.toLong()) * row
        if (most > MAX_NUMBERS) refuse("too-large", "'${cut.master.name}' needs $most numbers in memory at once")
        val reader = net.reader(segment.master, segment.kind)
        val turn = if (inOrder(order)) null else Turn(order, shape)
        val last = segment.firstRow + segment.rows
        var first = segment.firstRow
        while (first < last) {
            val end = minOf(last.toLong(), first + rowsAtOnce).toInt()
            val count = ((end - first) * row).toInt()
            if (segment.rule == Rule.I32) {
                if (ints.size < count) ints = IntArray(count)
                reader.ints(first, end, ints)
                putInts(if (turn == null) ints else turnInts(turn, end - first, count), count, sink)
            } else {
                if (numbers.size < count) numbers = FloatArray(count)
                reader.floats(first, end, numbers)
                put(segment.rule, if (turn == null) numbers else turn(turn, end - first, count), count, sink)
            }
            first = end
        }
    }

    private fun inOrder(order: IntArray): Boolean = order.indices.all { order[it] == it }

    private fun turn(turn: Turn, rows: Int, count: Int): FloatArray {
        if (turned.size < count) turned = FloatArray(count)
        val from = numbers
        val into = turned
        turn.each(rows) { source, target, length, stride ->
            var at = source
            for (index in target until target + length) {
                into[index] = from[at]
                at += stride
            }
        }
        return into
    }

    private fun turnInts(turn: Turn, rows: Int, count: Int): IntArray {
        if (turnedInts.size < count) turnedInts = IntArray(count)
        val from = ints
        val into = turnedInts
        turn.each(rows) { source, target, length, stride ->
            for (index in 0 until length) into[target + index] = from[source + index * stride]
        }
        return into
    }

    /** Brings the axes of rows of [shape] into [order]. */
    private class Turn(private val order: IntArray, private val shape: IntArray) {
        private val strides = IntArray(shape.size)
        private val position = IntArray(shape.size)

        /** Hands out the fastest axis' runs: where they begin, where they go, how many numbers, how far apart. */
        inline fun each(rows: Int, run: (Int, Int, Int, Int) -> Unit) {
            var stride = 1
            for (axis in shape.size - 1 downTo 0) {
                strides[axis] = stride
                stride *= length(axis, rows)
            }
            val total = stride
            val fastest = order[order.size - 1]
            val length = length(fastest, rows)
            position.fill(0)
            var source = 0
            var target = 0
            while (true) {
                run(source, target, length, strides[fastest])
                target += length
                if (target == total) return
                var place = order.size - 2
                while (true) { // the next position, as an odometer
                    val axis = order[place]
                    position[axis]++
                    source += strides[axis]
                    if (position[axis] < length(axis, rows)) break
                    source -= strides[axis] * position[axis]
                    position[axis] = 0
                    place--
                }
            }
        }

        fun length(axis: Int, rows: Int): Int = if (axis == 0) rows else shape[axis]
    }

    private fun put(rule: Rule, from: FloatArray, count: Int, sink: ByteSink) {
        var at = 0
        val atOnce = PIECE_BYTES / rule.itemBytes
        while (at < count) {
            val length = minOf(atOnce, count - at)
            when (rule) {
                Rule.F32 -> {
                    floatView.position(0)
                    floatView.put(from, at, length)
                }
                Rule.F16 -> for (index in 0 until length) putHalf(index, Half.ofFloat(from[at + index]))
                Rule.F16_COREML -> for (index in 0 until length) putHalf(index, Half.ofFloatCoreMl(from[at + index]))
                else -> for (index in 0 until length) bytes[index] = from[at + index].toInt().toByte()
            }
            sink.write(bytes, 0, length * rule.itemBytes)
            at += length
        }
    }

    private fun putHalf(index: Int, half: Int) {
        bytes[2 * index] = half.toByte()
        bytes[2 * index + 1] = (half shr 8).toByte()
    }

    private fun putInts(from: IntArray, count: Int, sink: ByteSink) {
        var at = 0
        while (at < count) {
            val length = minOf(PIECE_BYTES / 4, count - at)
            intView.position(0)
            intView.put(from, at, length)
            sink.write(bytes, 0, length * 4)
            at += length
        }
    }

    companion object {
        const val PIECE_BYTES: Int = 1 shl 16
        private const val PIECE_NUMBERS = PIECE_BYTES / 4L
        private const val MAX_NUMBERS = 1L shl 26 // of one constant in memory: 256 MB, and as much again turned
    }
}
