package dev.edgeslim.control

import java.math.BigInteger

/**
 * Last until 18:00: capacity, charge and the time left become the power that inference may draw.
 *
 * ```
 * capacity · charge / time left − everything else ─► Reading.powerMw
 * ```
 *
 * Reviewed every 15 s; a lower budget counts at once, a higher one only when it is 5 % above, so that the coarse steps
 * of a battery gauge do not make the rungs dance.
 *
 * @param capacityMwh energy of the full battery in milliwatt-hours.
 * @param untilUs the moment in microseconds, on the clock of the readings.
 * @param baseMw what the device draws without inference in milliwatts.
 */
public class PowerBudget(private val capacityMwh: Long, private val untilUs: Long, private val baseMw: Long) {
    private var reviewedUs = -1L

    /** The budget in milliwatts; -1 while the charge was never known, or once the moment has passed. */
    public var powerMw: Int = Signals.UNKNOWN
        private set

    /** The budget at [nowUs], with the charge in permille (-1 unknown). */
    public fun update(nowUs: Long, batteryPermille: Int): Int {
        val leftUs = untilUs - nowUs
        if (leftUs <= 0) {
            powerMw = Signals.UNKNOWN
        } else if (batteryPermille >= 0 && (reviewedUs < 0 || nowUs - reviewedUs >= REVIEW_US)) {
            reviewedUs = nowUs
            val affordable = affordable(batteryPermille, leftUs)
            if (powerMw < 0 || affordable < powerMw || affordable * 100L >= powerMw * 105L) powerMw = affordable
        }
        return powerMw
    }

    private fun affordable(batteryPermille: Int, leftUs: Long): Int {
        // A battery of some kWh times microseconds is beyond 64 bits: once in 15 s that may cost a few objects.
        val energy = BigInteger.valueOf(capacityMwh) * BigInteger.valueOf(batteryPermille * MW_PER_MWH_US)
        val whole = energy / (BigInteger.valueOf(leftUs) * BigInteger.valueOf(1000)) - BigInteger.valueOf(baseMw)
        return whole.max(BigInteger.ZERO).min(BigInteger.valueOf(WidthController.MAX_POWER_MW.toLong())).toInt()
    }

    /** Whether the narrowest rung at [inferencesPerKs] inferences per 1000 s stays within the budget. */
    public fun reachable(ladder: Ladder, inferencesPerKs: Int): Boolean =
        powerMw < 0 || ladder.rungs[0].energyUj * inferencesPerKs <= powerMw * 1_000_000L

    private companion object {
        const val REVIEW_US = 15_000_000L
        const val MW_PER_MWH_US = 3_600_000_000L // 1 mWh over 1 µs
    }
}
