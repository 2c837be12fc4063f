package dev.edgeslim.session

import dev.edgeslim.control.Decision
import dev.edgeslim.control.PolicyField
import dev.edgeslim.control.WidthController

/**
 * Which rung will be wanted next, from the controller's own state: narrowing is urgent and comes without warning, so
 * the next narrower rung is kept ready; only when a widening is near the next wider one is fetched instead.
 */
internal class Prefetch(private val controller: WidthController) {
    private val signs = minOf(SIGNS, controller.policy[PolicyField.DWELL_FRAMES])
    private val dwellUs = controller.policy[PolicyField.DWELL_US]
    private val dwellWarmUs = maxOf(dwellUs, controller.policy[PolicyField.DWELL_WARM_US])
    private val top = controller.ladder.rungs.size - 1

    /** The rung to have ready beside the decided one; -1 on a ladder of one. */
    fun next(decision: Decision, nowUs: Long, leadUs: Long): Int {
        val state = controller.state
        val rung = decision.rung
        if (rung < decision.cap && state.upRun >= signs) {
            val dwell = if (state.level == 0) dwellUs else dwellWarmUs
            val opens = maxOf(state.lastSwitch + dwell, state.latencyBackoff.hold, state.thermalBackoff.hold)
            if (opens - nowUs <= leadUs) return rung + 1
        }
        if (rung > 0) return rung - 1
        return if (top > 0) 1 else -1
    }

    companion object {
        const val LEAD_US: Long = 1_000_000
        private const val SIGNS = 4L // frames in a row in which the wider rung would fit
    }
}
