package dev.edgeslim.control

/**
 * The widest, the narrowest, and between them the rungs that are worth a switch.
 *
 * From the widest down the next rung is the slowest that is 5/4 faster. Where that is a leap of 3/2, the rung leapt
 * over whose loss would cost most is put back. Then whatever brings less than 1/200 of its worth over the rung below
 * goes.
 */
internal class Thinning(private val rungs: List<Rung>) {
    class Kept(val rungs: List<Rung>, val dropped: List<DroppedArtifact>)

    private class Ratio(val numerator: Long, val denominator: Long)

    private val times = LongArray(rungs.size) { rungs[it].timeUs }
    private val values = values()

    fun kept(): Kept {
        if (rungs.isEmpty()) return Kept(emptyList(), emptyList())
        val widest = rungs.size - 1
        val places = arrayListOf(widest)
        var upper = widest
        while (true) {
            val lower = lastFaster(upper, STEP)
            if (lower < 0) break
            if (isFaster(lower, upper, LEAP)) places.addAll(putBack(lower, upper))
            places.add(lower)
            upper = lower
        }
        if (isFaster(0, upper, APART)) places.add(0)
        val kept = ArrayList<Int>()
        for (place in places.reversed()) {
            if (kept.isEmpty() || place == widest || gains(kept.last(), place)) kept.add(place)
        }
        val dropped = rungs.indices.filter { it !in kept }.map { why(it, kept) }
        return Kept(kept.map(rungs::get), dropped)
    }

    private fun isFaster(low: Int, high: Int, by: Ratio) = times[low] * by.numerator <= times[high] * by.denominator

    /** The slowest rung that is so much faster than [upper]; -1: none. */
    private fun lastFaster(upper: Int, by: Ratio): Int {
        var lower = upper - 1
        while (lower >= 0 && !isFaster(lower, upper, by)) lower--
        return lower
    }

    private fun gains(low: Int, high: Int) = (values[high] - values[low]) * GAIN >= values[high]

    /** Of the rungs between, the one worth most for the times in which it is the best that fits; the faster of two. */
    private fun putBack(lower: Int, upper: Int): List<Int> {
        var best = emptyList<Int>()
        var most = 0L
        for (place in lower + 1..lastFaster(upper, APART)) {
            val area = (values[place] - values[lower]) * (times[upper] - times[place])
            if (area > most && gains(lower, place)) {
                best = listOf(place)
                most = area
            }
        }
        return best
    }

    private fun why(place: Int, kept: List<Int>): DroppedArtifact {
        val rung = rungs[place]
        val below = kept.lastOrNull { it < place }
        val reason =
            if (below != null && !gains(below, place)) {
                Reason.of("adds_little", "to" to rungs[below].label)
            } else {
                val near = nearest(rung, kept.map(rungs::get))
                Reason.of("too_close", "to" to near.label, "percent" to 100 * rung.timeUs / near.timeUs)
            }
        return DroppedArtifact(rung.artifact, rung.label, reason)
    }

    /** The kept rung whose time is the most alike, by ratio. */
    private fun nearest(rung: Rung, kept: List<Rung>): Rung {
        val above = kept.indexOfFirst { it.timeUs > rung.timeUs } // the widest is always kept
        val nearAbove = above == 0 || rung.timeUs * rung.timeUs >= kept[above - 1].timeUs * kept[above].timeUs
        return if (nearAbove) kept[above] else kept[above - 1]
    }

    /** Worths above that of a late answer, in at most 30 bits, so that products with times stay below 2^57. */
    private fun values(): LongArray {
        if (rungs.isEmpty()) return LongArray(0)
        val least = rungs.first().worth
        val most = rungs.last().worth
        val nothing = if (least >= 0) 0 else 2 * least - most
        val bits = 64 - java.lang.Long.numberOfLeadingZeros(most - nothing)
        val shift = maxOf(bits - 30, 0)
        return LongArray(rungs.size) { (rungs[it].worth - nothing) shr shift }
    }

    private companion object {
        val STEP = Ratio(5, 4)
        val LEAP = Ratio(3, 2)
        val APART = Ratio(21, 20)
        const val GAIN = 200L
    }
}
