package dev.edgeslim.session

import dev.edgeslim.control.BatterySpan
import dev.edgeslim.control.BundleQuality
import dev.edgeslim.control.DeviceInfo
import dev.edgeslim.control.LatencyRow
import dev.edgeslim.control.LatencyStatistics
import dev.edgeslim.control.LatencyTable
import dev.edgeslim.control.OsInfo
import dev.edgeslim.control.RowKind
import dev.edgeslim.control.RuntimeInfo
import dev.edgeslim.control.SignalSource
import dev.edgeslim.control.Signals
import dev.edgeslim.control.ThermalSpan
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.TimeZone
import kotlin.concurrent.withLock

/** When a session measures a device that nobody has measured before. */
public enum class FirstUse {
    /** Before the first frame; about three seconds. */
    NOW,

    /** The narrowest and the widest at once, the others while the app does something else between its frames. */
    GAPS,
}

/**
 * A latency table taken by the session itself. Shorter than `edgeslim bench` and in the app's own process, so every row
 * says so in its notes.
 */
internal class Measurement(
    private val deployment: Deployment,
    private val threads: Int,
    private val device: DeviceInfo,
    private val os: OsInfo,
    private val signals: SignalSource,
    private val clock: Clock,
) {
    private class Samples(val runtime: RuntimeInfo, val before: Signals, val startedAt: String) {
        var warmupRuns = 0L
        val blocks = ArrayList<List<Long>>()
        val runs: Int
            get() = blocks.sumOf { it.size }
    }

    private val found = HashMap<String, Samples>()

    val isEmpty: Boolean
        get() = found.values.all { it.runs == 0 }

    fun has(artifact: String): Boolean = artifact in found

    fun runs(artifact: String): Int = found[artifact]?.runs ?: 0

    /** The longest of the medians, in microseconds. */
    fun longestUs(): Long = found.values.maxOf { samples -> samples.blocks.flatten().sorted().let { it[it.size / 2] } }

    private fun samples(loaded: LoadedArtifact): Samples =
        found.getOrPut(loaded.plan.artifact) { Samples(loaded.runner.describe(), signals.read(), utc(clock.unixS())) }

    private fun timed(loaded: LoadedArtifact): Long {
        val started = clock.nowUs()
        loaded.runner.run()
        return maxOf(clock.nowUs() - started, 1L)
    }

    /** Warms up, then runs for about [blockUs] and at least five times. */
    fun block(loaded: LoadedArtifact, blockUs: Long) {
        val samples = samples(loaded)
        loaded.inUse.withLock {
            val last = (0 until WARMUP_RUNS).minOf { timed(loaded) }
            samples.warmupRuns += WARMUP_RUNS
            val runs = minOf(maxOf(MIN_RUNS, blockUs / last), MOST_RUNS).toInt()
            samples.blocks.add(List(runs) { timed(loaded) })
        }
    }

    /** A single run, which counts if [keep] says so afterwards; the first ones of an artifact are warm-up. */
    fun one(loaded: LoadedArtifact, keep: () -> Boolean) {
        val samples = samples(loaded)
        val sample = loaded.inUse.withLock { timed(loaded) }
        if (samples.warmupRuns < WARMUP_RUNS) samples.warmupRuns++ else if (keep()) samples.blocks.add(listOf(sample))
    }

    /** Everything measured so far. */
    fun table(): LatencyTable {
        val measured = deployment.plans.values.filter { runs(it.artifact) > 0 }
        return LatencyTable(
            edgeslimVersion = VERSION,
            createdAt = utc(clock.unixS()),
            quality = BundleQuality.of(deployment.bundle),
            rows = measured.mapIndexed { order, plan -> row(plan, order) },
        )
    }

    private fun row(plan: ArtifactPlan, order: Int): LatencyRow {
        val samples = found.getValue(plan.artifact)
        val samplesMs = samples.blocks.flatten().map { it / 1000.0 }
        val after = signals.read()
        val rose = after.status > samples.before.status && samples.before.status >= 0
        return LatencyRow(
            fileSha256 = plan.key,
            bundleSha256 = null,
            artifact = plan.artifact,
            net = plan.net,
            label = plan.label,
            widthPermille = plan.widthPermille?.toLong(),
            target = deployment.target,
            precision = plan.variant.precision,
            inputShape = plan.inputs[0].shape.map { it.toLong() },
            device = device,
            os = os,
            runtime = samples.runtime.copy(threads = threads.toLong()),
            context = "app",
            warmupRuns = samples.warmupRuns,
            runs = samplesMs.size.toLong(),
            durationS = samplesMs.sum() / 1000,
            statistics = LatencyStatistics.of(samplesMs.toDoubleArray()),
            samplesMs = samplesMs,
            blockRuns = samples.blocks.map { it.size.toLong() },
            thermal = thermal(samples.before, after),
            battery = battery(samples.before, after),
            kind = RowKind.BURST,
            order = order.toLong(),
            seed = 0,
            valid = !rose,
            reasons = if (rose) listOf("the thermal level rose") else emptyList(),
            notes = listOf("taken by a session at first use, in the app's own process"),
            startedAt = samples.startedAt,
            edgeslimVersion = VERSION,
        )
    }

    private fun known(value: Int): Long? = if (value >= 0) value.toLong() else null

    private fun thermal(before: Signals, after: Signals) =
        ThermalSpan(
            levelStart = known(before.status),
            levelEnd = known(after.status),
            levelMax = known(maxOf(before.status, after.status)),
            headroomStart = known(before.headroomMilli)?.div(1000.0),
            headroomEnd = known(after.headroomMilli)?.div(1000.0),
        )

    private fun battery(before: Signals, after: Signals) =
        BatterySpan(known(before.batteryPermille), known(after.batteryPermille), after.charging, after.lowPower)

    companion object {
        /** Of the library, as tables name it. */
        const val VERSION: String = "0.1.0"
        const val TOTAL_US: Long = 3_000_000
        const val BLOCK_US: Long = 120_000
        private const val MIN_RUNS = 5L
        private const val MOST_RUNS = 1000L
        private const val WARMUP_RUNS = 2
        private const val APART_NUMERATOR = 6L // in multiply-adds 1.2: closer nets seldom both stay on a ladder
        private const val APART_DENOMINATOR = 5L

        /**
         * Of every variant the widest and the narrowest, and between them neighbours that are apart; narrow to wide.
         */
        fun candidates(deployment: Deployment): List<String> {
            val known = BundleQuality.of(deployment.bundle).values
            val kept = HashSet<String>()
            for (variant in deployment.variants) {
                val plans = deployment.plans.values.filter { it.variant.id == variant.id && it.artifact in known }
                var last: ArtifactPlan? = null
                for (plan in plans.reversed()) {
                    val wider = last
                    if (wider == null || plan.macs * APART_NUMERATOR <= wider.macs * APART_DENOMINATOR) {
                        kept.add(plan.artifact)
                        last = plan
                    }
                }
                plans.firstOrNull()?.let { kept.add(it.artifact) }
            }
            return deployment.plans.keys.filter { it in kept }
        }

        private fun utc(unixS: Long): String =
            SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'Z'", Locale.ROOT)
                .apply { timeZone = TimeZone.getTimeZone("UTC") }
                .format(Date(unixS * 1000))
    }
}

/**
 * Measures the artifacts that are still missing, one run per gap between two frames, on the loading thread.
 *
 * @param done hears when all have been.
 */
internal class GapMeasurement(
    private val found: Measurement,
    private val pool: Pool,
    private val gate: FrameGate,
    private val loader: Loader,
    missing: List<String>,
    private val done: (Measurement) -> Unit,
) {
    private val missing = java.util.concurrent.ConcurrentLinkedDeque(missing)
    private val needUs = found.longestUs()
    @Volatile private var busy = false

    /** Called once per look: the artifact to be measured next, which should be in memory; null when all are. */
    fun offer(): String? {
        val next = missing.peekFirst() ?: return null
        if (!busy && gate.idleUs * 10 > needUs * SHARE_TENTHS) {
            busy = true
            loader.submit(::step)
        }
        return next
    }

    private fun step() {
        try {
            val artifact = missing.peekFirst() ?: return
            if (pool.hasFailed(artifact)) return next()
            val loaded = pool.peek(artifact) ?: return
            if (!gate.waitForGap(needUs)) return
            val begun = gate.begun
            try {
                found.one(loaded) { gate.begun == begun }
            } catch (error: Exception) {
                pool.fail(loaded, "failed while being measured: $error")
                return next()
            }
            if (found.runs(artifact) >= RUNS) next()
        } finally {
            busy = false
        }
    }

    private fun next() {
        missing.pollFirst()
        if (missing.isEmpty()) done(found)
    }

    private companion object {
        const val RUNS = 8
        const val SHARE_TENTHS = 13 // a gap has to be 1.3 times as long as the run
    }
}
