package dev.edgeslim.format

/**
 * Which positions of a master one net uses (FORMAT.md §4): the first n of every part.
 *
 * @property runs per axis the stretches that are left, as first, last (not included), first, last …, ascending.
 * @property shape of what is left.
 * @property full of the whole master.
 * @property groupsKept groups with a row left.
 */
internal class MasterCut
private constructor(
    val master: Master,
    val runs: Array<IntArray>,
    val shape: IntArray,
    val full: IntArray,
    val groupsKept: Int,
) {
    /** Output channels of a weight. */
    val outputs: Long
        get() = along(master.rows)

    /** Input channels of a weight. */
    val inputs: Long
        get() = along(1 - master.rows)

    private fun along(axis: Int): Long = if (axis == 0) shape[0].toLong() else groupsKept.toLong() * shape[1]

    /** Numbers in one position of axis 0. */
    val rowNumbers: Long
        get() = numbers(shape) / shape[0]

    /** How many numbers the cut has. */
    val numbers: Long
        get() = numbers(shape)

    private fun numbers(lengths: IntArray): Long = lengths.fold(1L) { product, length -> product * length }

    /** The master's position of every position that is left along [axis]. */
    fun positions(axis: Int): IntArray {
        val found = IntArray(shape[axis])
        var count = 0
        val stretches = runs[axis]
        for (index in stretches.indices step 2) {
            for (position in stretches[index] until stretches[index + 1]) found[count++] = position
        }
        return found
    }

    /** The group of every row that is left, counted among those kept; null where there is only one group. */
    val group: IntArray? by
        lazy(LazyThreadSafetyMode.PUBLICATION) { if (master.groups == 1) null else groupsOf(positions(0)) { _, _ -> } }

    private inline fun groupsOf(rows: IntArray, onGroup: (Int, Int) -> Unit): IntArray {
        val size = full[0] / master.groups
        val found = IntArray(rows.size)
        var last = -1
        var count = -1
        for (index in rows.indices) { // rows ascend, so groups do
            val name = rows[index] / size
            if (name != last) {
                last = name
                count++
                onGroup(count, name)
            }
            found[index] = count
        }
        return found
    }

    /** The output channel of the whole master that every output channel of the cut comes from. */
    fun outputPositions(): IntArray {
        val rows = positions(0)
        if (master.rows == 0) return rows
        val columns = positions(1)
        val found = IntArray(outputs.toInt())
        groupsOf(rows) { count, name ->
            for (index in columns.indices) found[count * columns.size + index] = name * full[1] + columns[index]
        }
        return found
    }

    /**
     * The stretches of one row (a position of axis 0) of the whole master that are left, as offset, length, offset,
     * length … in numbers; empty where all of the row is left.
     */
    val rowStretches: IntArray by
        lazy(LazyThreadSafetyMode.PUBLICATION) {
            var stretches = IntArray(0) // of the axes looked at so far; empty: all of them
            var size = 1
            for (axis in shape.size - 1 downTo 1) {
                if (stretches.isEmpty() && shape[axis] == full[axis]) {
                    size *= full[axis]
                    continue
                }
                stretches = if (stretches.isEmpty()) scaled(runs[axis], size) else repeated(axis, stretches, size)
                size *= full[axis]
            }
            stretches
        }

    private fun scaled(stretches: IntArray, size: Int): IntArray =
        IntArray(stretches.size) { index ->
            if (index % 2 == 0) stretches[index] * size else (stretches[index] - stretches[index - 1]) * size
        }

    private fun repeated(axis: Int, inner: IntArray, size: Int): IntArray {
        val positions = positions(axis)
        return IntArray(positions.size * inner.size) { index ->
            val within = index % inner.size
            if (within % 2 == 0) positions[index / inner.size] * size + inner[within] else inner[within]
        }
    }

    companion object {
        /**
         * The positions of [master] at [cut] (one number per part). Allocates nothing of the master's size.
         *
         * Throws [FormatException] `bad-cut`: nothing is left along an axis.
         */
        fun of(master: Master, parts: List<Part>, cut: List<Int>): MasterCut {
            val runs = Array(master.axes.size) { runs(master.axes[it], parts, cut) }
            val shape = IntArray(runs.size) { length(runs[it]) }
            if (shape.any { it == 0 }) refuse("bad-cut", "nothing is left of an axis of '${master.name}'")
            val full = master.fullShape(parts).let { lengths -> IntArray(lengths.size) { lengths[it].toInt() } }
            val kept = if (master.groups == 1) 1 else groups(runs[0], full[0] / master.groups)
            return MasterCut(master, runs, shape, full, kept)
        }

        private fun runs(axis: List<Int>, parts: List<Part>, cut: List<Int>): IntArray {
            val found = IntArray(axis.size * 2)
            var count = 0
            var start = 0
            for (part in axis) {
                val end = start + cut[part]
                if (end > start) {
                    if (count > 0 && found[count - 1] == start) {
                        found[count - 1] = end // neighbours that touch are one
                    } else {
                        found[count++] = start
                        found[count++] = end
                    }
                }
                start += parts[part].size
            }
            return found.copyOf(count)
        }

        private fun length(stretches: IntArray): Int {
            var total = 0
            for (index in stretches.indices step 2) total += stretches[index + 1] - stretches[index]
            return total
        }

        /** How many groups of [size] rows the stretches touch. */
        private fun groups(stretches: IntArray, size: Int): Int {
            var count = 0
            var last = -1
            for (index in stretches.indices step 2) {
                val low = maxOf(stretches[index] / size, last + 1)
                val high = (stretches[index + 1] - 1) / size
                count += maxOf(high - low + 1, 0)
                last = maxOf(high, last)
            }
            return count
        }
    }
}

/** The orders of axes that a layout's number means (FORMAT.md §6). */
internal object Layouts {
    private val FACTORIALS = intArrayOf(1, 1, 2, 6, 24, 120, 720)

    fun has(layout: Long, axes: Int): Boolean = layout < FACTORIALS[axes]

    /** The axes from the slowest to the fastest: the permutation at place [layout] of all, ascending. */
    fun order(layout: Int, axes: Int): IntArray {
        val left = ArrayList<Int>(axes)
        for (axis in 0 until axes) left.add(axis)
        var rest = layout
        return IntArray(axes) {
            val size = FACTORIALS[axes - 1 - it]
            val index = rest / size
            rest %= size
            left.removeAt(index)
        }
    }
}
