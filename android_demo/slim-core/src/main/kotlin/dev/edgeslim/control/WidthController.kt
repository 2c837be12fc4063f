package dev.edgeslim.control

import dev.edgeslim.control.Decision.Companion.BATTERY
import dev.edgeslim.control.Decision.Companion.FORECAST
import dev.edgeslim.control.Decision.Companion.HOLD
import dev.edgeslim.control.Decision.Companion.INFEASIBLE
import dev.edgeslim.control.Decision.Companion.LATENCY
import dev.edgeslim.control.Decision.Companion.LOW_POWER
import dev.edgeslim.control.Decision.Companion.PANIC
import dev.edgeslim.control.Decision.Companion.POWER_BUDGET
import dev.edgeslim.control.Decision.Companion.THERMAL
import dev.edgeslim.control.Decision.Companion.USER
import dev.edgeslim.control.Decision.Companion.WIDENED

/**
 * Decides the rung of every frame: one pure step in 64-bit integers, the same in every language.
 *
 * ```
 * Reading ─► learn ─► heat ─► battery ─► caps ─► choose ─► skip ─► Decision
 *            │        │       │                  │
 *            xi, dev, k  level band              rung, holds            (ControllerState)
 * ```
 *
 * One slowdown (measured latency over the table's) and its upward deviation scale the whole table. It narrows at once
 * and widens one rung after a dwell; a widening that fails doubles the next wait. Heat caps the width, a forecast of
 * heat also forbids widening, and unknown holds the last level. Inputs are clamped first, so that every product stays
 * below 2^54.
 *
 * One thread at a time. A step allocates nothing once it has decided so before.
 *
 * @param heirOf a controller whose knowledge this one takes over, because a rung left the ladder.
 */
public class WidthController
@JvmOverloads
constructor(ladder: Ladder, public val policy: Policy = Policy.BALANCED, heirOf: WidthController? = null) {
    /** The rungs that [policy] uses. */
    public val ladder: Ladder = policy.select(ladder)

    /** What the steps so far have left. */
    public val state: ControllerState = ControllerState()

    private val times = LongArray(this.ladder.rungs.size) { this.ladder.rungs[it].timeUs }
    private val energies = LongArray(times.size) { this.ladder.rungs[it].energyUj }
    private val top = times.size - 1

    private val headroomShift = policy[PolicyField.HEADROOM_SHIFT].toInt()
    private val widenShift = policy[PolicyField.WIDEN_SHIFT].toInt()
    private val meanShift = policy[PolicyField.MEAN_SHIFT].toInt()
    private val jumpShift = policy[PolicyField.JUMP_SHIFT].toInt()
    private val devAttackShift = policy[PolicyField.DEV_ATTACK_SHIFT].toInt()
    private val devReleaseShift = policy[PolicyField.DEV_RELEASE_SHIFT].toInt()
    private val devFloor = ONE shr policy[PolicyField.DEV_FLOOR_SHIFT].toInt()
    private val devStale = ONE shr policy[PolicyField.DEV_STALE_SHIFT].toInt()
    private val gateDevShift = policy[PolicyField.GATE_DEV_SHIFT].toInt()
    private val gateFloor = ONE shr policy[PolicyField.GATE_FLOOR_SHIFT].toInt()
    private val gateSamples = policy[PolicyField.GATE_SAMPLES]
    private val kMin = policy[PolicyField.K_MIN]
    private val kMax = policy[PolicyField.K_MAX]
    private val kHit = policy[PolicyField.K_HIT]
    private val kMiss = policy[PolicyField.K_MISS]
    private val settleSamples = policy[PolicyField.SETTLE_SAMPLES]
    private val panicMisses = policy[PolicyField.PANIC_MISSES]
    private val dwellUs = policy[PolicyField.DWELL_US]
    private val dwellFrames = policy[PolicyField.DWELL_FRAMES]
    private val dwellWarmUs = maxOf(dwellUs, policy[PolicyField.DWELL_WARM_US])
    private val staleUs = policy[PolicyField.STALE_US]
    private val latencyHoldUs = policy.list(PolicyField.LATENCY_HOLD_US)
    private val thermalHoldUs = policy.list(PolicyField.THERMAL_HOLD_US)
    private val levelFallUs = policy[PolicyField.LEVEL_FALL_US]
    private val heatMemoryUs = policy[PolicyField.HEAT_MEMORY_US]
    private val vetoLevel = policy[PolicyField.VETO_LEVEL].toInt()
    private val batteryPermille = policy.list(PolicyField.BATTERY_PERMILLE)
    private val batteryHysteresis = policy[PolicyField.BATTERY_HYSTERESIS_PERMILLE]
    private val maxSkip = policy[PolicyField.MAX_SKIP].toInt()
    private val criticalSkip = policy[PolicyField.CRITICAL_SKIP].toInt()

    /** Headroom from which each level holds: less for levels not above the one held (first index). Level 0 has none. */
    private val limits =
        Array(5) { held ->
            val milli = policy.list(PolicyField.HEADROOM_MILLI)
            val less = policy[PolicyField.HEADROOM_HYSTERESIS_MILLI]
            LongArray(5) { level -> if (level == 0) 0 else milli[level - 1] - (if (level <= held) less else 0) }
        }
    private val thermalCaps = caps(policy.list(PolicyField.THERMAL_THIRDS))
    private val batteryCaps = caps(policy.list(PolicyField.BATTERY_THIRDS))
    private val savingCap = caps(policy.list(PolicyField.LOW_POWER_THIRDS))[0]
    private val decisions = DecisionCache()

    init {
        state.dev = ONE shr policy[PolicyField.DEV_START_SHIFT].toInt()
        state.k = policy[PolicyField.K_START]
        state.latencyBackoff.wait = latencyHoldUs[0] shr 1
        state.thermalBackoff.wait = thermalHoldUs[0] shr 1
        if (heirOf != null) {
            state.xi = heirOf.state.xi
            state.dev = heirOf.state.dev
            state.k = heirOf.state.k
            state.level = heirOf.state.level
            state.band = heirOf.state.band
        }
    }

    private fun caps(thirds: LongArray) = IntArray(thirds.size) { (top * thirds[it] / 3).toInt() }

    /** What to run for the next frame; [reading] says what happened since the last one, and is not kept. */
    public fun step(reading: Reading): Decision {
        val s = state
        val now = maxOf(minOf(reading.nowUs, MAX_NOW_US), s.lastNow) // the clock never goes back
        if (s.started && now - s.lastNow > staleUs) {
            s.dev = maxOf(s.dev, devStale)
            s.upRun = 0
            s.gateRun = 0
            s.missRun = 0
        }
        s.lastNow = now
        val deadline = clampTime(reading.deadlineUs)
        if (reading.observedUs >= 0 && reading.observedRung >= 0 && reading.observedRung <= top) {
            learn(clampTime(reading.observedUs), reading.observedRung, deadline)
        }
        feelHeat(reading, now)
        val forecast = levelOf(reading.forecastMilli)
        watchBattery(reading)
        return decide(reading, now, deadline, forecast)
    }

    private fun clampTime(us: Long) = minOf(maxOf(us, 1L), Ladder.MAX_TIME_US)

    /** One measured latency moves the miss run, the safety factor, the slowdown and its deviation. */
    private fun learn(observed: Long, observedRung: Int, deadline: Long) {
        val s = state
        val own = observedRung == s.rung
        val missed = observed > deadline
        s.missRun = if (missed && own) s.missRun + 1 else 0
        if (own) {
            s.beforeUs = s.lastUs
            s.lastUs = observed
            if (s.settleLeft > 0) { // the first sample after a switch pays for cold caches: it teaches nothing
                s.settleLeft--
                return
            }
        }
        s.k = minOf(maxOf(s.k + (if (missed) kMiss else -kHit), kMin), kMax)
        var ratio = minOf(maxOf((observed shl 20) / times[observedRung], XI_MIN), XI_MAX)
        val gate = s.xi + maxOf(s.dev shl gateDevShift, gateFloor)
        s.gateRun = if (ratio > gate) s.gateRun + 1 else 0
        if (ratio > gate && s.gateRun < gateSamples) ratio = gate // one outlier is clipped, a second is believed
        val error = ratio - s.xi
        val gain = if (s.gateRun >= gateSamples) jumpShift else meanShift
        s.xi = minOf(maxOf(s.xi + (error shr gain), XI_MIN), XI_MAX)
        // Only upwards: with the absolute error a suddenly faster sample could narrow the net.
        val change = maxOf(error, 0L) - s.dev
        s.dev = maxOf(s.dev + (change shr (if (change > 0) devAttackShift else devReleaseShift)), devFloor)
    }

    /** Thermal level of a headroom, with hysteresis below the level held; 0 for unknown. */
    private fun levelOf(milli: Int): Int {
        val limit = limits[state.level]
        if (milli < limit[1]) return 0
        for (level in 4 downTo 2) if (milli >= limit[level]) return level
        return 1
    }

    /** Up at once, down one level at a time; an input that turns unknown keeps its last level for a while. */
    private fun feelHeat(reading: Reading, now: Long) {
        val s = state
        if (reading.status >= 0) {
            s.status = reading.status
            s.statusAt = now
        } else if (now - s.statusAt > heatMemoryUs) {
            s.status = -1
        }
        if (reading.headroomMilli >= 0) {
            s.headroom = levelOf(reading.headroomMilli)
            s.headroomAt = now
        } else if (now - s.headroomAt > heatMemoryUs) {
            s.headroom = -1
        }
        val raw = minOf(maxOf(s.status, s.headroom), 4)
        if (raw < 0 || raw >= s.level) {
            s.level = maxOf(raw, s.level)
            s.below = -1
            return
        }
        if (s.below < 0) s.below = now
        if (now - s.below >= levelFallUs) {
            s.level--
            s.below = now
        }
    }

    /** The band of the battery, with hysteresis on the way up; unknown keeps it. */
    private fun watchBattery(reading: Reading) {
        if (reading.charging) {
            state.band = 3
        } else if (reading.batteryPermille >= 0) {
            var band = 3
            for (at in 2 downTo 0) {
                val limit = batteryPermille[at] + (if (state.band <= at) batteryHysteresis else 0)
                if (reading.batteryPermille < limit) band = at
            }
            state.band = band
        }
    }

    /** The widest rung within the power budget; the narrowest if none is. */
    private fun affordable(reading: Reading): Int {
        val budget = minOf(reading.powerMw, MAX_POWER_MW) * 1_000_000L // mW times 1000 s in microjoules
        val perKs = minOf(maxOf(reading.inferencesPerKs, 0), MAX_PER_KS).toLong()
        for (at in top downTo 1) if (energies[at] * perKs <= budget) return at
        return 0
    }

    private fun decide(reading: Reading, now: Long, deadline: Long, forecast: Int): Decision {
        val s = state
        val thermal = thermalCaps[s.level]
        val ahead = if (forecast >= vetoLevel) thermalCaps[forecast - 1] else top
        val battery = batteryCaps[s.band]
        val saving = if (reading.lowPower && !reading.charging) savingCap else top
        val power = if (reading.powerMw < 0) top else affordable(reading)
        val user = if (reading.userCap < 0) top else minOf(reading.userCap, top)
        val cap = minOf(minOf(thermal, ahead, battery), minOf(saving, power, user))
        var reasons = 0
        if (cap < top) {
            if (thermal == cap) reasons = reasons or THERMAL
            if (ahead == cap) reasons = reasons or FORECAST
            if (battery == cap) reasons = reasons or BATTERY
            if (saving == cap) reasons = reasons or LOW_POWER
            if (power == cap) reasons = reasons or POWER_BUDGET
            if (user == cap) reasons = reasons or USER
        }
        return choose(reading, now, deadline, forecast, cap, reasons)
    }

    /** The branches of the specification, the first match wins. */
    private fun choose(reading: Reading, now: Long, deadline: Long, forecast: Int, cap: Int, caps: Int): Decision {
        val s = state
        val t = times
        val rung = s.rung
        val scale = s.xi + ((s.k * s.dev) shr 10)
        val usable = deadline - (deadline shr headroomShift)
        val budget = usable shl 20
        val low = minOf(maxOf(reading.userMin, 0), cap)
        var fit = cap
        while (fit >= 0 && t[fit] * scale > budget) fit--
        var reasons = if (fit < 0) caps or INFEASIBLE else caps
        var new = rung
        if (!s.started) {
            new = maxOf(fit, low)
            s.lastSwitch = now
            s.settleLeft = settleSamples
        } else if (rung > cap) {
            new = maxOf(fit, low)
            if (reasons and (THERMAL or FORECAST) != 0) backOff(s.thermalBackoff, thermalHoldUs, now)
        } else if (t[rung] * scale > budget) {
            reasons = reasons or LATENCY
            new = maxOf(fit, low)
            if (new < rung) {
                leave(rung)
                backOff(s.latencyBackoff, latencyHoldUs, now)
            }
        } else if (s.missRun >= panicMisses && rung > low) { // the model is wrong: trust the clock
            reasons = reasons or LATENCY or PANIC
            new = rung - 1
            leave(rung)
            backOff(s.latencyBackoff, latencyHoldUs, now)
        } else if (rung < low) {
            new = low
        } else if (rung < cap) {
            val room = (usable - (usable shr widenShift)) shl 20
            val fits = t[rung + 1] * scale <= room
            s.upRun = if (fits || (s.flat && t[rung] * scale <= room)) s.upRun + 1 else 0
            if (s.upRun >= dwellFrames) {
                if (mayWiden(now, forecast)) {
                    new = rung + 1
                    reasons = reasons or WIDENED
                    if (!fits) { // the latency is taken to stay what it is
                        s.xi = maxOf(s.xi * t[rung] / t[new], XI_MIN)
                        s.dev = maxOf(s.dev * t[rung] / t[new], devFloor)
                    }
                } else {
                    reasons = reasons or HOLD
                }
            }
        } else {
            s.upRun = 0
        }
        if (new != rung) switched(new > rung, now)
        if (s.left > 0) judge(new, now, usable)
        val previous = if (s.started) rung else -1
        s.rung = new
        s.started = true
        return decisions.get(new, skip(t[new] * scale, budget), reasons, previous, s.level, cap)
    }

    private fun switched(wider: Boolean, now: Long) {
        val s = state
        if (wider && s.started) s.lastUp = now
        s.lastSwitch = now
        s.upRun = 0
        s.missRun = 0
        s.lastUs = 0
        s.beforeUs = 0
        s.settleLeft = settleSamples
    }

    /** Whether narrowing has helped since latency drove from a wider rung. */
    private fun judge(new: Int, now: Long, usable: Long) {
        val s = state
        val t = times
        if (new >= s.left) {
            s.left = 0
            s.flat = false
            s.flatSince = -1
            return
        }
        val here = minOf((s.xi * t[new]) shr 20, Ladder.MAX_TIME_US)
        // After a minute no more than was allowed: what a spike took says nothing about the rest.
        if (now - s.lastSwitch >= thermalHoldUs[0]) s.leftUs = minOf(s.leftUs, usable)
        if (2 * here * t[s.left] < s.leftUs * (t[s.left] + t[new])) s.flatSince = -1
        else if (s.flatSince < 0) s.flatSince = now
        if (s.flat) {
            s.flat = 4 * here * t[s.left] >= s.leftUs * (t[s.left] + 3 * t[new])
        } else if (s.flatSince >= 0) { // a burst that comes later, and goes, says nothing about this narrowing
            s.flat = now - s.lastSwitch < latencyHoldUs[0] || now - s.flatSince >= thermalHoldUs[0] shr 2
        }
    }

    private fun skip(needed: Long, budget: Long): Int {
        var skip = 1
        while (skip < maxSkip && needed > budget * skip) skip++
        return if (state.level == 4) maxOf(skip, criticalSkip) else skip
    }

    /** Latency drives from [rung]: remember what it was (no outlier), to see whether narrowing helps. */
    private fun leave(rung: Int) {
        val s = state
        if (s.left > 0 && s.lastUp <= s.latencyBackoff.down) return
        s.left = rung
        val took = if (s.beforeUs > 0) minOf(s.lastUs, s.beforeUs) else (s.xi * times[rung]) shr 20
        s.leftUs = minOf(took, Ladder.MAX_TIME_US)
    }

    /** Whether every gate is open: dwell (longer when warm), both back-offs, no heat ahead. */
    private fun mayWiden(now: Long, forecast: Int): Boolean {
        val s = state
        return now - s.lastSwitch >= (if (s.level == 0) dwellUs else dwellWarmUs) &&
            now >= s.latencyBackoff.hold &&
            now >= s.thermalBackoff.hold &&
            forecast < vetoLevel
    }

    /** A widening that did not last doubles the wait before the next one; a good one resets it. */
    private fun backOff(backoff: ControllerState.Backoff, limits: LongArray, now: Long) {
        val lastUp = state.lastUp
        if (lastUp > backoff.down) {
            backoff.wait = if (now - lastUp < 2 * backoff.wait) minOf(2 * backoff.wait, limits[1]) else limits[0]
        }
        backoff.wait = maxOf(backoff.wait, limits[0])
        backoff.hold = now + backoff.wait
        backoff.down = now
    }

    /** One object per distinct decision: there are few, and a frame should not pay for making one. */
    private inner class DecisionCache {
        private var keys = LongArray(64)
        private var found = arrayOfNulls<Decision>(64)
        private var count = 0

        fun get(rung: Int, skip: Int, bits: Int, previous: Int, level: Int, cap: Int): Decision {
            var key = rung.toLong()
            key = key shl 10 or cap.toLong()
            key = key shl 11 or (previous + 1).toLong()
            key = key shl 4 or skip.toLong()
            key = key shl 3 or level.toLong()
            key = key shl 11 or bits.toLong()
            val place = place(key)
            found[place]?.let {
                return it
            }
            val rungs = ladder.rungs
            val made =
                Decision(
                    rung = rung,
                    artifact = rungs[rung].artifact,
                    label = rungs[rung].label,
                    skip = skip,
                    bits = bits,
                    previous = previous,
                    level = level,
                    cap = cap,
                    capLabel = rungs[cap].label,
                )
            keys[place] = key
            found[place] = made
            if (++count * 2 > keys.size) grow()
            return made
        }

        private fun place(key: Long): Int {
            var place = (key * -0x61c8864680b583ebL ushr 40).toInt() and (keys.size - 1)
            while (found[place] != null && keys[place] != key) place = (place + 1) and (keys.size - 1)
            return place
        }

        private fun grow() {
            val oldKeys = keys
            val old = found
            keys = LongArray(2 * oldKeys.size)
            found = arrayOfNulls(2 * oldKeys.size)
            for (at in old.indices) {
                val decision = old[at] ?: continue
                val place = place(oldKeys[at])
                keys[place] = oldKeys[at]
                found[place] = decision
            }
        }
    }

    internal companion object {
        const val ONE: Long = 1L shl 20 // Q20
        private const val XI_MIN = ONE shr 3
        private const val XI_MAX = ONE shl 4
        private const val MAX_PER_KS = 10_000_000
        const val MAX_POWER_MW: Int = 1_000_000
        private const val MAX_NOW_US = 1L shl 52
    }
}
