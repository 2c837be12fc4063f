package dev.edgeslim.session

import dev.edgeslim.UsageException
import dev.edgeslim.control.Ladder

/** How much time a frame has: the budget, less what the app spends, less what filling the input has taken lately. */
internal class Budget(budgetUs: Long, overheadUs: Long) {
    var budgetUs: Long = checkedBudget(budgetUs)
        set(value) {
            field = checkedBudget(value)
        }

    var overheadUs: Long = checkedOverhead(overheadUs)
        set(value) {
            field = checkedOverhead(value)
        }

    private var fillUs = 0L
    private var lastNowUs = -1L
    private var intervalUs = budgetUs

    /** The input of a frame took [us]: a longer time counts at once, a shorter one by an eighth. */
    fun filled(us: Long) {
        fillUs = maxOf(us, fillUs + ((us - fillUs) shr 3))
    }

    fun deadlineUs(): Long = budgetUs - overheadUs - fillUs

    /** No frame has been yet. */
    fun begin() {
        lastNowUs = -1
    }

    /** The pace of frames, smoothed; called once for each. */
    fun inferencesPerKs(nowUs: Long): Int {
        if (lastNowUs >= 0) intervalUs += (nowUs - lastNowUs - intervalUs) shr 3
        lastNowUs = nowUs
        return (1_000_000_000L / maxOf(intervalUs, 1L)).toInt()
    }

    private companion object {
        fun checkedBudget(us: Long): Long {
            if (us !in 1..Ladder.MAX_TIME_US) {
                throw UsageException("a budget of $us µs is no time", hint = "33333 for 30 frames per second")
            }
            return us
        }

        fun checkedOverhead(us: Long): Long {
            if (us !in 0..Ladder.MAX_TIME_US) throw UsageException("an overhead of $us µs is no time")
            return us
        }
    }
}
