package dev.edgeslim.control

import dev.edgeslim.json.Fields
import dev.edgeslim.json.StrictJson
import dev.edgeslim.json.StrictJsonException

/**
 * Everything a controller's step remembers: whole numbers, times in microseconds, -1 is never or unknown.
 *
 * [xi] and [dev] are Q20, [k] Q10.
 */
public class ControllerState internal constructor() {
    internal var started: Boolean = false
    internal var rung: Int = 0
    internal var xi: Long = WidthController.ONE
    internal var dev: Long = 0
    internal var k: Long = 0
    internal var level: Int = 0
    internal var below: Long = -1
    internal var band: Int = 3
    internal var lastNow: Long = 0
    internal var lastSwitch: Long = 0
    internal var lastUp: Long = -1
    internal var upRun: Long = 0
    internal var gateRun: Long = 0
    internal var missRun: Long = 0
    internal var settleLeft: Long = 0
    internal var status: Int = -1
    internal var statusAt: Long = 0
    internal var headroom: Int = -1
    internal var headroomAt: Long = 0
    internal val latencyBackoff: Backoff = Backoff()
    internal val thermalBackoff: Backoff = Backoff()

    // The last two latencies at this rung, 0 where there are none yet.
    internal var lastUs: Long = 0
    internal var beforeUs: Long = 0

    // The rung that latency drove from, first of a descent (0: none), and what an inference took there.
    internal var left: Int = 0
    internal var leftUs: Long = 0

    // Since then the latency fell by less than half of what the table says, right after a switch or for long, and never
    // by
    // three quarters: narrower is not faster here. Since when it has been less than half, without a break (-1: it is
    // more).
    internal var flat: Boolean = false
    internal var flatSince: Long = -1

    /** When a back-off began, until when there is no widening, and how long that is. */
    internal class Backoff {
        var down: Long = -1
        var hold: Long = 0
        var wait: Long = 0
    }

    /** All values by the names that goldens and other languages use; booleans are 0 and 1. */
    public fun values(): Map<String, Long> =
        linkedMapOf(
            "started" to bit(started),
            "rung" to rung.toLong(),
            "xi" to xi,
            "dev" to dev,
            "k" to k,
            "level" to level.toLong(),
            "below" to below,
            "band" to band.toLong(),
            "last_now" to lastNow,
            "last_switch" to lastSwitch,
            "last_up" to lastUp,
            "up_run" to upRun,
            "gate_run" to gateRun,
            "miss_run" to missRun,
            "settle_left" to settleLeft,
            "status" to status.toLong(),
            "status_at" to statusAt,
            "headroom" to headroom.toLong(),
            "headroom_at" to headroomAt,
            "latency_down" to latencyBackoff.down,
            "latency_hold" to latencyBackoff.hold,
            "latency_wait" to latencyBackoff.wait,
            "thermal_down" to thermalBackoff.down,
            "thermal_hold" to thermalBackoff.hold,
            "thermal_wait" to thermalBackoff.wait,
            "last_us" to lastUs,
            "before_us" to beforeUs,
            "left" to left.toLong(),
            "left_us" to leftUs,
            "flat" to bit(flat),
            "flat_since" to flatSince,
        )

    private fun bit(value: Boolean) = if (value) 1L else 0L

    /** Canonical JSON of [values]. */
    public fun toJson(): String = StrictJson.canonical(values())

    public companion object {
        /**
         * The state in [text], as [toJson] writes it.
         *
         * @throws TableException anything else.
         */
        @JvmStatic
        public fun fromJson(text: String): ControllerState =
            try {
                with(Fields(StrictJson.parse(text))) { read().also { finish() } }
            } catch (error: StrictJsonException) {
                throw TableException("not a controller's state: ${error.message}")
            }

        private fun Fields.read(): ControllerState {
            val state = ControllerState()
            state.started = whole("started") != 0L
            state.rung = int("rung")
            state.xi = whole("xi")
            state.dev = whole("dev")
            state.k = whole("k")
            state.level = int("level")
            state.below = whole("below")
            state.band = int("band")
            state.lastNow = whole("last_now")
            state.lastSwitch = whole("last_switch")
            state.lastUp = whole("last_up")
            state.upRun = whole("up_run")
            state.gateRun = whole("gate_run")
            state.missRun = whole("miss_run")
            state.settleLeft = whole("settle_left")
            state.status = int("status")
            state.statusAt = whole("status_at")
            state.headroom = int("headroom")
            state.headroomAt = whole("headroom_at")
            for ((name, backoff) in listOf("latency" to state.latencyBackoff, "thermal" to state.thermalBackoff)) {
                backoff.down = whole("${name}_down")
                backoff.hold = whole("${name}_hold")
                backoff.wait = whole("${name}_wait")
            }
            state.lastUs = whole("last_us")
            state.beforeUs = whole("before_us")
            state.left = int("left")
            state.leftUs = whole("left_us")
            state.flat = whole("flat") != 0L
            state.flatSince = whole("flat_since")
            return state
        }
    }
}
