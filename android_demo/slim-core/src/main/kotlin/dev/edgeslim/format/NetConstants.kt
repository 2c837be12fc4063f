package dev.edgeslim.format

/**
 * The only place that makes a constant's numbers (FORMAT.md §4 and §5).
 *
 * ```
 * masters ─ cut ─► C ─ · in_scale ─ · scale ─► weight        shift or cut ─► bias, vector
 *                  └─ / step, rounded ─ · sign ─► integers   step · |scale| ─► weight scale
 *                                                            · input scale ─► bias scale, int32 bias
 * integers · weight scale, int32 bias · bias scale ─► dequantised
 * ```
 *
 * Every step is one float32 operation rounded to nearest even (the JVM fuses nothing and flushes nothing to zero), so
 * the bits are the same in every language. A product that is not finite is refused: infinity times zero is a NaN whose
 * bits depend on the processor.
 *
 * @property quants null of a net without int8 numbers; an entry is null of a master that has none.
 */
internal class NetConstants(
    private val source: MasterSource,
    private val steps: Steps,
    val cuts: List<MasterCut>,
    private val folds: List<Fold>,
    private val quants: List<Quant?>?,
) {
    private val byName = cuts.indices.associateBy { cuts[it].master.name }
    private val floatsOf = HashMap<Pair<Int, Kind>, FloatArray>()
    private val biasesOf = HashMap<Int, IntArray>()

    /** Reads [kind] of the master at [index], rows after rows. */
    fun reader(index: Int, kind: Kind): RowReader {
        val cut = cuts[index]
        return when (kind) {
            Kind.WEIGHT,
            Kind.VECTOR -> WholeReader(index, Making.AS_IS)
            Kind.INTEGERS -> WholeReader(index, Making.INTEGERS)
            Kind.DEQUANTISED_WEIGHT -> WholeReader(index, Making.DEQUANTISED)
            Kind.BIAS_INTEGERS -> OneAxis(null, biasIntegers(index))
            else -> OneAxis(oneAxis(index, kind), null)
        }.also { check(kind.whole || cut.master.role == Role.WEIGHT) }
    }

    /** Gives rows first … last−1 of a constant, row-major, as floats or as whole numbers. */
    internal interface RowReader {
        /** Rows [first] until [last] into [into] from its start. */
        fun floats(first: Int, last: Int, into: FloatArray)

        /** As [floats], of what is stored as `i32`. */
        fun ints(first: Int, last: Int, into: IntArray)
    }

    private class OneAxis(private val floats: FloatArray?, private val ints: IntArray?) : RowReader {
        override fun floats(first: Int, last: Int, into: FloatArray) {
            System.arraycopy(floats!!, first, into, 0, last - first)
        }

        override fun ints(first: Int, last: Int, into: IntArray) {
            System.arraycopy(ints!!, first, into, 0, last - first)
        }
    }

    private enum class Making {
        AS_IS,
        INTEGERS,
        DEQUANTISED,
    }

    private inner class WholeReader(private val index: Int, private val making: Making) : RowReader {
        private val cut = cuts[index]
        private val master = cut.master
        private val fold = folds[index]
        private val own = fold.own
        private val numbers =
            if (own != null) null else NumberReader(source.master(master.of ?: master.name), master.dtype)
        private val rowNumbers = cut.rowNumbers.toInt()
        private val fullRow = (cut.full.drop(1).fold(1L) { product, length -> product * length }).toInt()

        /**
         * What every number is multiplied with, one after the other; each has one number per channel along its axis.
         */
        private val factors = ArrayList<Pair<FloatArray, Int>>()
        private val scales = if (making == Making.AS_IS) null else scales(index)
        private val divisors: FloatArray?
        private val signs: FloatArray?

        init {
            val shared = making != Making.AS_IS && master.integers == Integers.SHARED
            val integral = master.dtype == MasterType.I8
            if (master.role == Role.WEIGHT && !shared) {
                if (integral) factors.add(Pair(unitsOf(cut), master.rows))
                fold.inScale?.let { factors.add(Pair(it, 1 - master.rows)) }
                fold.scale?.let { factors.add(Pair(it, master.rows)) }
            }
            divisors =
                when {
                    making == Making.AS_IS || integral -> null
                    shared ->
                        unitsOf(cut).also { units -> for (at in units.indices) if (units[at] == 0f) units[at] = 1f }
                    else -> scales!!.values
                }
            signs =
                if (making == Making.AS_IS) null
                else
                    FloatArray(cut.outputs.toInt()) {
                        if (scales!!.dead[it]) 0f
                        else if (shared && fold.scale != null && fold.scale[it] < 0) -1f else 1f
                    }
        }

        override fun floats(first: Int, last: Int, into: FloatArray) {
            if (own != null) {
                System.arraycopy(own, first * rowNumbers, into, 0, (last - first) * rowNumbers)
                return
            }
            stretches(first, last) { from, count, at -> numbers!!.read(from, count, into, at) }
            for ((factor, axis) in factors) along(into, axis, first, last, factor) { x, y -> x * y }
            val count = (last - first) * rowNumbers
            if (making == Making.AS_IS) {
                if (factors.isNotEmpty()) checkFinite(into, count)
                return
            }
            if (master.integers == Integers.OWN) checkFinite(into, count)
            quantise(first, last, into, count)
            if (making == Making.DEQUANTISED) {
                along(into, master.rows, first, last, scales!!.values) { x, y -> x * y }
                checkFinite(into, count)
            }
        }

        override fun ints(first: Int, last: Int, into: IntArray) {
            stretches(first, last) { from, count, at -> numbers!!.readInts(from, count, into, at) }
        }

        private fun quantise(first: Int, last: Int, into: FloatArray, count: Int) {
            if (divisors == null) {
                for (at in 0 until count) into[at] = maxOf(-LARGEST, minOf(LARGEST, into[at]))
            } else {
                along(into, master.rows, first, last, divisors) { x, y ->
                    maxOf(-LARGEST, minOf(LARGEST, Math.rint((x / y).toDouble()).toFloat()))
                }
            }
            along(into, master.rows, first, last, signs!!) { x, y -> x * y }
            for (at in 0 until count) into[at] += 0f // −0 is 0
        }

        private fun checkFinite(numbers: FloatArray, count: Int) {
            if (!allFinite(numbers, count)) refuse("non-finite", "a number of '${master.name}' is not finite")
        }

        /** Hands out where the rows stand: the number they begin with, how many, and where they go. */
        private inline fun stretches(first: Int, last: Int, each: (Int, Int, Int) -> Unit) {
            val within = cut.rowStretches
            val runs = cut.runs[0]
            var position = 0 // of the rows that are left
            var at = 0
            for (index in runs.indices step 2) {
                val length = runs[index + 1] - runs[index]
                val begin = maxOf(first, position)
                val end = minOf(last, position + length)
                if (begin < end) {
                    val row = runs[index] + begin - position
                    if (within.isEmpty()) {
                        each(row * fullRow, (end - begin) * fullRow, at)
                        at += (end - begin) * fullRow
                    } else {
                        for (offset in row until row + end - begin) {
                            for (stretch in within.indices step 2) {
                                each(offset * fullRow + within[stretch], within[stretch + 1], at)
                                at += within[stretch + 1]
                            }
                        }
                    }
                }
                position += length
            }
        }

        /** Combines every number of the rows with its channel's along [axis]. */
        private inline fun along(
            numbers: FloatArray,
            axis: Int,
            first: Int,
            last: Int,
            vector: FloatArray,
            combine: (Float, Float) -> Float,
        ) {
            if (axis == 0) {
                var at = 0
                for (row in first until last) {
                    val factor = vector[row]
                    val end = at + rowNumbers
                    while (at < end) {
                        numbers[at] = combine(numbers[at], factor)
                        at++
                    }
                }
            } else {
                val columns = cut.shape[1]
                val tail = rowNumbers / columns
                val group = cut.group
                for (row in first until last) {
                    val base = if (group == null) 0 else group[row] * columns
                    var at = (row - first) * rowNumbers
                    if (tail == 1) {
                        for (column in 0 until columns) {
                            numbers[at + column] = combine(numbers[at + column], vector[base + column])
                        }
                        continue
                    }
                    for (column in 0 until columns) {
                        val factor = vector[base + column]
                        val end = at + tail
                        while (at < end) {
                            numbers[at] = combine(numbers[at], factor)
                            at++
                        }
                    }
                }
            }
        }
    }

    private class Scales(val values: FloatArray, val dead: BooleanArray)

    /** The steps of the cut's output channels. */
    private fun unitsOf(cut: MasterCut): FloatArray {
        val whole = steps.of(cut)
        val positions = cut.outputPositions()
        return FloatArray(positions.size) { whole[positions[it]] }
    }

    /** The weight scale of every output channel, and which are dead. */
    private fun scales(index: Int): Scales {
        val cut = cuts[index]
        if (cut.master.integers == Integers.OWN) {
            val own = quants!![index]!!.scale!!
            return Scales(own, BooleanArray(own.size))
        }
        val values = unitsOf(cut)
        folds[index].scale?.let { scale -> for (at in values.indices) values[at] *= Math.abs(scale[at]) }
        if (!allFinite(values, values.size)) {
            refuse("non-finite", "a weight scale of '${cut.master.name}' is not finite")
        }
        val dead = BooleanArray(values.size) { values[it] < DEAD_BELOW }
        for (at in values.indices) if (dead[at]) values[at] = DEAD_SCALE
        return Scales(values, dead)
    }

    private fun oneAxis(index: Int, kind: Kind): FloatArray = floatsOf.getOrPut(Pair(index, kind)) { make(index, kind) }

    private fun make(index: Int, kind: Kind): FloatArray {
        val master = cuts[index].master
        return when (kind) {
            Kind.BIAS -> bias(index)
            Kind.WEIGHT_SCALE -> scales(index).values
            Kind.INPUT_SCALE -> floatArrayOf(quants!![index]!!.inputScale)
            Kind.BIAS_SCALE -> {
                val input = quants!![index]!!.inputScale
                val scales = scales(index).values
                finite(FloatArray(scales.size) { scales[it] * input }, master)
            }
            else -> { // a dequantised bias
                val integers = biasIntegers(index)
                val scales = oneAxis(index, Kind.BIAS_SCALE)
                finite(FloatArray(scales.size) { integers[it].toFloat() * scales[it] }, master)
            }
        }
    }

    private fun finite(numbers: FloatArray, master: Master): FloatArray {
        if (!allFinite(numbers, numbers.size)) refuse("non-finite", "a number of '${master.name}' is not finite")
        return numbers
    }

    private fun bias(index: Int): FloatArray {
        folds[index].shift?.let {
            return it
        }
        val numbers = FloatArray(cuts[index].outputs.toInt())
        reader(byName.getValue(cuts[index].master.bias!!), Kind.VECTOR).floats(0, numbers.size, numbers)
        return numbers
    }

    private fun biasIntegers(index: Int): IntArray =
        biasesOf.getOrPut(index) {
            val scales = oneAxis(index, Kind.BIAS_SCALE)
            val bias = finite(oneAxis(index, Kind.BIAS), cuts[index].master)
            val correction = quants!![index]!!.correction
            IntArray(bias.size) {
                val product = (bias[it] * (1f / scales[it])).toDouble()
                val rounded = Math.rint(maxOf(-TWO_31, minOf(TWO_31, product))).toLong()
                val whole = maxOf(-MAX_INT32, minOf(MAX_INT32, rounded))
                val corrected = if (correction == null) whole else whole + correction[it]
                maxOf(-MAX_INT32, minOf(MAX_INT32, corrected)).toInt()
            }
        }

    companion object {
        private const val TWO_31 = 2147483648.0
        private const val MAX_INT32 = 2147483647L

        /** Whether the first [count] of [numbers] are all finite: x − x is 0 exactly then, and sums of 0 stay 0. */
        fun allFinite(numbers: FloatArray, count: Int): Boolean {
            var a = 0f
            var b = 0f
            var c = 0f
            var d = 0f
            var at = 0
            while (at + 4 <= count) {
                a += numbers[at] - numbers[at]
                b += numbers[at + 1] - numbers[at + 1]
                c += numbers[at + 2] - numbers[at + 2]
                d += numbers[at + 3] - numbers[at + 3]
                at += 4
            }
            while (at < count) {
                a += numbers[at] - numbers[at]
                at++
            }
            return a + b + c + d == 0f
        }
    }
}
