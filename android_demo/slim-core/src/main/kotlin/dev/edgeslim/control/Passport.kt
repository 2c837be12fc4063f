package dev.edgeslim.control

import dev.edgeslim.json.Fields
import dev.edgeslim.json.JsonObject

/** The machine that a number comes from; null where it does not say. */
public data class DeviceInfo(
    val manufacturer: String?,
    val model: String,
    val soc: String?,
    val cores: Long,
    val ramBytes: Long?,
    val cpuMaxKhz: List<Long>,
) {
    internal fun json(): JsonObject =
        mapOf(
            "manufacturer" to manufacturer,
            "model" to model,
            "soc" to soc,
            "cores" to cores,
            "ram_bytes" to ramBytes,
            "cpu_max_khz" to cpuMaxKhz,
        )

    internal companion object {
        fun read(value: Any?, where: String): DeviceInfo =
            with(Fields(value, where)) {
                DeviceInfo(
                        manufacturer = textOrNull("manufacturer"),
                        model = text("model"),
                        soc = textOrNull("soc"),
                        cores = whole("cores"),
                        ramBytes = wholeOrNull("ram_bytes"),
                        cpuMaxKhz = list("cpu_max_khz", Fields.Companion::wholeOf),
                    )
                    .also { finish() }
            }
    }
}

/** The system on the machine. */
public data class OsInfo(val name: String, val version: String, val build: String?) {
    internal fun json(): JsonObject = mapOf("name" to name, "version" to version, "build" to build)

    internal companion object {
        fun read(value: Any?, where: String): OsInfo =
            with(Fields(value, where)) { OsInfo(text("name"), text("version"), textOrNull("build")).also { finish() } }
    }
}

/**
 * What ran the artifact.
 *
 * @property delegateActual what the runtime reports after loading, so that a silent fallback shows.
 * @property threads in a row those asked for, from a runner those in use (0: it does not say).
 * @property note what a reader must know.
 */
public data class RuntimeInfo
@JvmOverloads
constructor(
    val name: String,
    val version: String,
    val delegateRequested: String?,
    val delegateActual: String?,
    val threads: Long,
    val loadMode: String? = null,
    val note: String = "",
) {
    internal fun json(): JsonObject =
        mapOf(
            "name" to name,
            "version" to version,
            "delegate_requested" to delegateRequested,
            "delegate_actual" to delegateActual,
            "threads" to threads,
            "load_mode" to loadMode,
            "note" to note,
        )

    internal companion object {
        fun read(value: Any?, where: String): RuntimeInfo =
            with(Fields(value, where)) {
                RuntimeInfo(
                        name = text("name"),
                        version = text("version"),
                        delegateRequested = textOrNull("delegate_requested"),
                        delegateActual = textOrNull("delegate_actual"),
                        threads = whole("threads"),
                        loadMode = if (has("load_mode")) textOrNull("load_mode") else null,
                        note = if (has("note")) text("note") else "",
                    )
                    .also { finish() }
            }
    }
}

/** Heat before, after and at worst: levels 0..4, headroom 1.0 is severe, degrees Celsius. */
public data class ThermalSpan
@JvmOverloads
constructor(
    val levelStart: Long? = null,
    val levelEnd: Long? = null,
    val levelMax: Long? = null,
    val headroomStart: Double? = null,
    val headroomEnd: Double? = null,
    val zoneCStart: Double? = null,
    val zoneCEnd: Double? = null,
) {
    internal fun json(): JsonObject =
        mapOf(
            "level_start" to levelStart,
            "level_end" to levelEnd,
            "level_max" to levelMax,
            "headroom_start" to headroomStart,
            "headroom_end" to headroomEnd,
            "zone_c_start" to zoneCStart,
            "zone_c_end" to zoneCEnd,
        )

    internal companion object {
        fun read(value: Any?, where: String): ThermalSpan =
            with(Fields(value, where)) {
                ThermalSpan(
                        levelStart = wholeIfThere("level_start"),
                        levelEnd = wholeIfThere("level_end"),
                        levelMax = wholeIfThere("level_max"),
                        headroomStart = numberIfThere("headroom_start"),
                        headroomEnd = numberIfThere("headroom_end"),
                        zoneCStart = numberIfThere("zone_c_start"),
                        zoneCEnd = numberIfThere("zone_c_end"),
                    )
                    .also { finish() }
            }
    }
}

/** Charge before and after, in permille. */
public data class BatterySpan
@JvmOverloads
constructor(
    val permilleStart: Long? = null,
    val permilleEnd: Long? = null,
    val charging: Boolean? = null,
    val lowPower: Boolean? = null,
) {
    internal fun json(): JsonObject =
        mapOf(
            "permille_start" to permilleStart,
            "permille_end" to permilleEnd,
            "charging" to charging,
            "low_power" to lowPower,
        )

    internal companion object {
        fun read(value: Any?, where: String): BatterySpan =
            with(Fields(value, where)) {
                BatterySpan(
                        permilleStart = wholeIfThere("permille_start"),
                        permilleEnd = wholeIfThere("permille_end"),
                        charging = if (has("charging")) flagOrNull("charging") else null,
                        lowPower = if (has("low_power")) flagOrNull("low_power") else null,
                    )
                    .also { finish() }
            }
    }
}

/** How fast the processor was: a fixed piece of work timed on a quiet device and around the samples, and kHz. */
public data class ClockSpan
@JvmOverloads
constructor(
    val baselineMsReference: Double? = null,
    val baselineMsStart: Double? = null,
    val baselineMsEnd: Double? = null,
    val khzStart: Long? = null,
    val khzEnd: Long? = null,
) {
    internal fun json(): JsonObject =
        mapOf(
            "baseline_ms_reference" to baselineMsReference,
            "baseline_ms_start" to baselineMsStart,
            "baseline_ms_end" to baselineMsEnd,
            "khz_start" to khzStart,
            "khz_end" to khzEnd,
        )

    internal companion object {
        fun read(value: Any?, where: String): ClockSpan =
            with(Fields(value, where)) {
                ClockSpan(
                        baselineMsReference = numberIfThere("baseline_ms_reference"),
                        baselineMsStart = numberIfThere("baseline_ms_start"),
                        baselineMsEnd = numberIfThere("baseline_ms_end"),
                        khzStart = wholeIfThere("khz_start"),
                        khzEnd = wholeIfThere("khz_end"),
                    )
                    .also { finish() }
            }
    }
}

/** What else ran while the samples were taken: shares of the processor time of all cores, 0..1. */
public data class LoadSpan
@JvmOverloads
constructor(
    val othersShare: Double? = null,
    val stealShare: Double? = null,
    val waitedShare: Double? = null,
    val preemptions: Long? = null,
) {
    internal fun json(): JsonObject =
        mapOf(
            "others_share" to othersShare,
            "steal_share" to stealShare,
            "waited_share" to waitedShare,
            "preemptions" to preemptions,
        )

    internal companion object {
        fun read(value: Any?, where: String): LoadSpan =
            with(Fields(value, where)) {
                LoadSpan(
                        othersShare = numberIfThere("others_share"),
                        stealShare = numberIfThere("steal_share"),
                        waitedShare = numberIfThere("waited_share"),
                        preemptions = wholeIfThere("preemptions"),
                    )
                    .also { finish() }
            }
    }
}

internal fun Fields.wholeIfThere(name: String): Long? = if (has(name)) wholeOrNull(name) else null

internal fun Fields.numberIfThere(name: String): Double? = if (has(name)) numberOrNull(name) else null
