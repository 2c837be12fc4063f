package dev.edgeslim.control

/**
 * What a device says about its heat and battery; -1 means unknown, and unknown is never "cool".
 *
 * @property status thermal level 0..4 (none, light, moderate, severe, critical).
 * @property headroomMilli thermal headroom now in thousandths, 1000 is severe.
 * @property forecastMilli headroom expected in 30 s.
 * @property batteryPermille charge.
 */
public data class Signals
@JvmOverloads
constructor(
    val status: Int = UNKNOWN,
    val headroomMilli: Int = UNKNOWN,
    val forecastMilli: Int = UNKNOWN,
    val batteryPermille: Int = UNKNOWN,
    val charging: Boolean = false,
    val lowPower: Boolean = false,
) {
    public companion object {
        /** -1. */
        public const val UNKNOWN: Int = -1
    }
}

/** A device that can be asked. Never throws: what cannot be read is unknown. */
public fun interface SignalSource {
    public fun read(): Signals
}

/** Signals that the app (or a test) sets itself; any thread may. */
public class ManualSource @JvmOverloads constructor(@Volatile public var signals: Signals = Signals()) : SignalSource {
    override fun read(): Signals = signals
}

/** Every platform's own units in whole numbers; floats live only here. */
public object SignalAdapters {
    private const val MAX_HEADROOM_MILLI = 1_000_000.0
    private const val LIGHT = 1
    private const val MODERATE = 2
    private const val SEVERE = 3
    private const val CRITICAL = 4
    private val IOS_LEVELS = intArrayOf(0, LIGHT, SEVERE, CRITICAL)
    private const val PI_THROTTLED_NOW = 6 // frequency capped or throttled
    private const val PI_SOFT_LIMIT = 8

    private fun finite(value: Double) = !value.isNaN() && !value.isInfinite()

    /** Android's thermal headroom (1.0 is severe) in thousandths; NaN, infinite or negative is unknown. */
    @JvmStatic
    public fun headroomMilli(headroom: Double): Int =
        if (!finite(headroom) || headroom < 0) Signals.UNKNOWN
        else Math.floor(minOf(headroom * 1000 + 0.5, MAX_HEADROOM_MILLI)).toInt()

    /** Android's THERMAL_STATUS_* (0..6, none to shutdown); negative is unknown. */
    @JvmStatic public fun androidLevel(status: Int): Int = if (status >= 0) minOf(status, CRITICAL) else Signals.UNKNOWN

    /** iOS's ProcessInfo.ThermalState (0..3); anything else is unknown. */
    @JvmStatic public fun iosLevel(thermalState: Int): Int = IOS_LEVELS.getOrElse(thermalState) { Signals.UNKNOWN }

    /** A charge of 0.0..1.0 in permille; negative, NaN or infinite is unknown. */
    @JvmStatic
    public fun batteryPermille(fraction: Double): Int =
        if (!finite(fraction) || fraction < 0) Signals.UNKNOWN
        else Math.floor(minOf(fraction, 1.0) * 1000 + 0.5).toInt()

    /** Level of a temperature (°C), from the trip at which the system throttles and the one at which it gives up. */
    @JvmStatic
    public fun levelBelowTrip(celsius: Double, tripC: Double, criticalC: Double): Int =
        when {
            !finite(celsius) -> Signals.UNKNOWN
            celsius >= criticalC -> CRITICAL
            celsius >= tripC -> SEVERE
            celsius >= tripC - 5.0 -> MODERATE
            celsius >= tripC - 15.0 -> LIGHT
            else -> 0
        }

    /** A Raspberry Pi's level from `get_throttled` (-1 unknown) and its temperature in °C (NaN unknown). */
    @JvmStatic
    public fun piLevel(throttled: Int, celsius: Double): Int {
        val level = levelBelowTrip(celsius, 80.0, 85.0)
        return when {
            throttled < 0 -> level
            throttled and PI_THROTTLED_NOW != 0 -> maxOf(level, SEVERE)
            else -> maxOf(level, if (throttled and PI_SOFT_LIMIT != 0) MODERATE else 0)
        }
    }
}
