package dev.edgeslim.format

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Which constant of a master (FORMAT.md §5); the codes are the places in this list. */
internal enum class Kind {
    WEIGHT,
    BIAS,
    VECTOR,
    INTEGERS,
    WEIGHT_SCALE,
    INPUT_SCALE,
    BIAS_SCALE,
    BIAS_INTEGERS,
    DEQUANTISED_WEIGHT,
    DEQUANTISED_BIAS;

    /** Whether it has the shape of the cut; all others have one axis. */
    val whole: Boolean
        get() = this == WEIGHT || this == VECTOR || this == INTEGERS || this == DEQUANTISED_WEIGHT

    /** Whether [master] has such a constant in a net with ([quantised]) or without a quant. */
    fun isOf(master: Master, quantised: Boolean): Boolean {
        if (this == VECTOR) return master.role != Role.WEIGHT
        if (master.role != Role.WEIGHT) return false
        val biased = master.shift || master.bias != null
        val some = master.integers != Integers.NONE
        return when (this) {
            WEIGHT -> true
            BIAS -> biased
            INTEGERS,
            WEIGHT_SCALE,
            DEQUANTISED_WEIGHT -> master.integers == Integers.SHARED || (some && quantised)
            INPUT_SCALE,
            BIAS_SCALE -> some && quantised
            else -> some && quantised && biased
        }
    }

    fun shape(cut: MasterCut): IntArray =
        when {
            whole -> cut.shape
            this == INPUT_SCALE -> intArrayOf(1)
            else -> intArrayOf(cut.outputs.toInt())
        }

    /** Whether it is stored as integers. */
    fun isInteger(master: Master): Boolean =
        this == INTEGERS || this == BIAS_INTEGERS || (this == VECTOR && master.dtype.ordinal >= MasterType.I8.ordinal)

    companion object {
        val all: List<Kind> = entries.toList()
    }
}

/** What a net brings to one master; null where absent. [own] are all numbers of an `own` master. */
internal class Fold(val inScale: FloatArray?, val scale: FloatArray?, val shift: FloatArray?, val own: FloatArray?) {
    companion object {
        /** How many numbers a net's fold holds. */
        fun numbers(cuts: List<MasterCut>): Long =
            cuts.sumOf { cut ->
                val master = cut.master
                when (master.role) {
                    Role.OWN -> cut.numbers
                    Role.WEIGHT ->
                        (if (master.inScale) cut.inputs else 0L) +
                            (if (master.scale) cut.outputs else 0L) +
                            (if (master.shift) cut.outputs else 0L)
                    Role.TENSOR -> 0L
                }
            }

        /** The content of a net's fold, shuffled as it is stored, master after master. */
        fun split(shuffled: ByteArray, cuts: List<MasterCut>, what: String): List<Fold> {
            val numbers = FloatArray(shuffled.size / 4)
            for (index in numbers.indices) {
                var bits = 0
                for (byte in 3 downTo 0) {
                    bits = bits shl 8 or (shuffled[byte * numbers.size + index].toInt() and 0xff)
                }
                numbers[index] = Float.fromBits(bits)
                if (bits and 0x7f800000 == 0x7f800000) refuse("non-finite", "$what holds a NaN or an infinity")
            }
            var at = 0
            fun take(wanted: Boolean, count: Long): FloatArray? {
                if (!wanted) return null
                at += count.toInt()
                return numbers.copyOfRange(at - count.toInt(), at)
            }
            return cuts.map { cut ->
                val master = cut.master
                if (master.role != Role.WEIGHT) {
                    Fold(null, null, null, take(master.role == Role.OWN, cut.numbers))
                } else {
                    Fold(
                        take(master.inScale, cut.inputs),
                        take(master.scale, cut.outputs),
                        take(master.shift, cut.outputs),
                        null,
                    )
                }
            }
        }

        /** The content before shuffling, of which the hash is taken. */
        fun unshuffled(shuffled: ByteArray): ByteArray {
            val words = shuffled.size / 4
            return ByteArray(shuffled.size) { shuffled[it % 4 * words + it / 4] }
        }
    }
}

/** What an int8 net brings to one weight. */
internal class Quant(val inputScale: Float, val scale: FloatArray?, val correction: ShortArray?) {
    companion object {
        private const val MIN_INPUT_SCALE = 1f / (1L shl 40)
        private const val MAX_INPUT_SCALE = (1L shl 40).toFloat()

        /** Bytes of a net's quant. */
        fun bytes(cuts: List<MasterCut>): Long =
            cuts.sumOf { cut ->
                if (cut.master.integers == Integers.NONE) return@sumOf 0L
                4L +
                    (if (cut.master.integers == Integers.OWN) 4 * cut.outputs else 0L) +
                    (if (cut.master.correction) 2 * cut.outputs else 0L)
            }

        /** The content of a net's quant. Throws [FormatException] `bad-quant`: a scale that is not allowed. */
        fun split(content: ByteArray, cuts: List<MasterCut>): List<Quant?> {
            val from = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN)
            val scales =
                cuts.map { cut ->
                    if (cut.master.integers == Integers.NONE) return@map null
                    val input = from.getFloat()
                    if (!(input >= MIN_INPUT_SCALE && input <= MAX_INPUT_SCALE)) {
                        refuse("bad-quant", "'${cut.master.name}' has an input scale of $input")
                    }
                    val own =
                        if (cut.master.integers == Integers.OWN) FloatArray(cut.outputs.toInt()) { from.getFloat() }
                        else null
                    if (own != null && !own.all { it >= DEAD_BELOW && it <= Float.MAX_VALUE }) {
                        refuse("bad-quant", "'${cut.master.name}' has a weight scale below 2^-20, or not finite")
                    }
                    Pair(input, own)
                }
            return cuts.mapIndexed { index, cut ->
                val (input, own) = scales[index] ?: return@mapIndexed null
                val outputs = cut.outputs.toInt()
                Quant(input, own, if (cut.master.correction) ShortArray(outputs) { from.getShort() } else null)
            }
        }
    }
}

/** A channel whose weight scale is below is dead. */
internal const val DEAD_BELOW: Float = 1f / (1 shl 20)

/** The weight scale of a dead channel. */
internal const val DEAD_SCALE: Float = 1f / (1 shl 8)

/** The largest integer of an int8 weight: symmetric, so that a sign can be turned without overflow. */
internal const val LARGEST: Float = 127f

/** Gives the stored numbers of masters, as little-endian buffers of their own position. */
internal interface MasterSource {
    /** The tensor `master/<name>`. Throws [FormatException] `too-large`. */
    fun master(name: String): ByteBuffer

    /** The tensor `step/<name>`. */
    fun step(name: String): ByteBuffer
}

/** How much one integer is worth in every output channel of whole masters; shared by all nets of a bundle. */
internal class Steps(private val source: MasterSource) {
    private val known = java.util.concurrent.ConcurrentHashMap<String, FloatArray>()

    /** Throws [FormatException]: `bad-quant` (a step that is not finite, or below 0), `non-finite` (a master). */
    fun of(cut: MasterCut): FloatArray = known.getOrPut(cut.master.name) { read(cut) }

    private fun read(cut: MasterCut): FloatArray {
        val master = cut.master
        val name = master.of ?: master.name
        val full = cut.full
        val outputs = if (master.rows == 0) full[0] else full[1] * master.groups
        if (master.dtype == MasterType.I8) {
            val steps = FloatArray(outputs)
            source.step(name).asFloatBuffer().get(steps)
            if (!steps.all { it >= 0 && it <= Float.MAX_VALUE }) {
                refuse("bad-quant", "'${master.name}' has a step that is not finite, or below 0")
            }
            return steps
        }
        val numbers = NumberReader(source.master(name), master.dtype)
        val largest = FloatArray(outputs)
        val columns = if (master.rows == 0) 1 else full[1]
        val each = full.drop(1).fold(1) { product, length -> product * length } / columns
        val row = FloatArray(each)
        for (position in 0 until full[0]) {
            for (column in 0 until columns) {
                numbers.read((position * columns + column) * each, each, row, 0)
                val output = if (master.rows == 0) position else position / (full[0] / master.groups) * columns + column
                var most = largest[output]
                for (number in row) {
                    val size = Math.abs(number)
                    if (!(size <= Float.MAX_VALUE)) refuse("non-finite", "a number of '${master.name}' is not finite")
                    if (size > most) most = size
                }
                largest[output] = most
            }
        }
        return FloatArray(outputs) { largest[it] / LARGEST }
    }
}

/** Reads numbers of a master as float32, in bulk. Not thread-safe. */
internal class NumberReader(stored: ByteBuffer, private val type: MasterType) {
    private val floats = if (type == MasterType.F32) stored.asFloatBuffer() else null
    private val halves = if (type == MasterType.F16) stored.asShortBuffer() else null
    private val bytes = if (type == MasterType.I8) stored.slice() else null
    private val ints = if (type == MasterType.I32) stored.asIntBuffer() else null
    private var halfScratch = ShortArray(0)
    private var byteScratch = ByteArray(0)

    /** Numbers [from] until [from] + [count] into [into] at [at]; i32 masters have [readInts]. */
    fun read(from: Int, count: Int, into: FloatArray, at: Int) {
        if (floats != null) {
            floats.position(from)
            floats.get(into, at, count)
        } else if (halves != null) {
            if (halfScratch.size < count) halfScratch = ShortArray(count)
            halves.position(from)
            halves.get(halfScratch, 0, count)
            for (index in 0 until count) into[at + index] = Half.toFloat(halfScratch[index])
        } else {
            if (byteScratch.size < count) byteScratch = ByteArray(count)
            bytes!!.position(from)
            bytes.get(byteScratch, 0, count)
            for (index in 0 until count) into[at + index] = byteScratch[index].toFloat()
        }
    }

    fun readInts(from: Int, count: Int, into: IntArray, at: Int) {
        ints!!.position(from)
        ints.get(into, at, count)
    }
}
