package dev.edgeslim.session

import dev.edgeslim.Goldens
import dev.edgeslim.control.DeviceInfo
import dev.edgeslim.control.LatencyRow
import dev.edgeslim.control.LatencyStatistics
import dev.edgeslim.control.LatencyTable
import dev.edgeslim.control.ManualSource
import dev.edgeslim.control.OsInfo
import dev.edgeslim.control.Policy
import dev.edgeslim.control.RowKind
import dev.edgeslim.control.RuntimeInfo
import dev.edgeslim.control.TableQuality
import dev.edgeslim.format.RawBundle
import dev.edgeslim.format.SlimBundle
import java.io.Closeable
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.ArrayDeque

/** Time that passes only when somebody says so. */
class PretendedClock : Clock {
    var us: Long = 1_000_000_000
    var startS: Long = 1_700_000_000

    override fun nowUs(): Long = us

    override fun unixS(): Long = startS + us / 1_000_000
}

/** Jobs that wait until the test, or who waits for them, runs them. */
internal class ManualLoader : Loader {
    private val jobs = ArrayDeque<() -> Unit>()

    override fun submit(job: () -> Unit) {
        jobs.addLast(job)
    }

    override fun waitFor(job: () -> Unit) {
        while (help()) {}
        job()
    }

    override fun help(): Boolean {
        jobs.pollFirst()?.invoke() ?: return false
        return true
    }
}

/** A runtime whose inferences take as long as the test says, and that fails when it says so. */
class PretendedRuntime(private val clock: PretendedClock) : Runtime {
    override val target: String = "executorch"

    /** Microseconds of an inference, by net. */
    val takesUs: MutableMap<String, Long> = linkedMapOf("0500" to 5_000, "wide-skip" to 10_000, "1000" to 20_000)
    val loadUs: Long = 40_000
    val failsToLoad: MutableSet<String> = HashSet()
    val failsToRun: MutableSet<String> = HashSet()
    val loads: MutableList<String> = ArrayList()
    val live: MutableSet<Any> = HashSet()
    var mostLive: Int = 0

    /** What happens inside a load. */
    var whileLoading: (File) -> Unit = {}

    override fun load(file: File, plan: ArtifactPlan, threads: Int): Runner {
        loads.add(plan.net)
        whileLoading(file)
        clock.us += loadUs
        if (plan.net in failsToLoad) throw IllegalStateException("no operator for ${plan.net}")
        check(file.length() == plan.sizeBytes) { "$file has ${file.length()} bytes" }
        return PretendedRunner(plan)
    }

    private inner class PretendedRunner(private val plan: ArtifactPlan) : Runner {
        override val inputs: Map<String, ByteBuffer> = plan.inputs.associate { it.name to buffer(it.shape) }
        override val outputs: Map<String, ByteBuffer> = plan.outputs.associate { it.name to buffer(it.shape) }
        private val input = inputs.values.first()
        private val output = outputs.values.first()
        private var closed = false

        init {
            live.add(this)
            mostLive = maxOf(mostLive, live.size)
        }

        private fun buffer(shape: List<Int>) =
            ByteBuffer.allocateDirect(4 * shape.fold(1) { a, b -> a * b }).order(ByteOrder.nativeOrder())

        override fun run() {
            check(!closed) { "run after close" }
            if (plan.net in failsToRun) throw IllegalStateException("the delegate is gone")
            clock.us += takesUs.getValue(plan.net)
            output.putFloat(0, input.getFloat(0) + 1)
        }

        override fun describe() = RuntimeInfo("pretended", "1", null, null, 0)

        override fun close() {
            closed = true
            live.remove(this)
        }
    }
}

/**
 * A bundle with three nets (told 5, 10 and 20 million multiply-adds), a pretended runtime, clock and loader, and
 * folders of its own.
 */
internal class Stage(folder: File) : Closeable {
    val cache: File = File(folder, "cache")
    val spare: File = File(folder, "spare").also { it.mkdirs() }
    val clock: PretendedClock = PretendedClock()
    val runtime: PretendedRuntime = PretendedRuntime(clock)
    val loader: ManualLoader = ManualLoader()
    val signals: ManualSource = ManualSource()
    val bundle: SlimBundle = SlimBundle.open(counted(folder))
    var witness: ExitWitness = ExitWitness { _, _ -> false }
    var freeBytes: Long = 1L shl 40
    val deployment: Deployment = Deployment.of(bundle, "executorch", null)

    private fun counted(folder: File): File {
        val raw = RawBundle.read(Goldens.file("bundles/good/spike-unet.slim"))
        var artifact = 0 // of every variant the nets 0500, 1000, wide-skip
        val macs = listOf(5_000_000, 20_000_000, 10_000_000)
        raw.manifest = Regex("\"macs\":0").replace(raw.manifest) { "\"macs\":${macs[artifact++ % 3]}" }
        return File(folder, "bundle.slim").apply { writeBytes(raw.toBytes()) }
    }

    /** Measured before: 5, 10 and 20 ms. */
    fun table(): LatencyTable {
        val rows =
            deployment.plans.values.mapIndexed { order, plan ->
                val ms = runtime.takesUs.getValue(plan.net) / 1000.0
                LatencyRow(
                    fileSha256 = plan.key,
                    bundleSha256 = null,
                    artifact = plan.artifact,
                    net = plan.net,
                    label = plan.label,
                    widthPermille = plan.widthPermille?.toLong(),
                    target = "executorch",
                    precision = "fp32",
                    inputShape = listOf(1),
                    device = DeviceInfo(null, "pretended", null, 1, null, emptyList()),
                    os = OsInfo("none", "1", null),
                    runtime = RuntimeInfo("pretended", "1", null, null, 1),
                    context = "app",
                    warmupRuns = 1,
                    runs = 1,
                    durationS = ms / 1000,
                    statistics = LatencyStatistics.of(doubleArrayOf(ms)),
                    kind = RowKind.BURST,
                    order = order.toLong(),
                    seed = 0,
                    valid = true,
                    reasons = emptyList(),
                    startedAt = "2026-01-01T00:00:00Z",
                    edgeslimVersion = "0",
                )
            }
        val worths = deployment.plans.keys.withIndex().associate { it.value to 0.5 + it.index / 10.0 }
        return LatencyTable("0", "2026-01-01T00:00:00Z", TableQuality("top1", "test", true, worths), null, rows)
    }

    fun open(
        table: LatencyTable? = table(),
        budgetUs: Long = 33_333,
        maxLoaded: Int = 2,
        firstUse: FirstUse = FirstUse.NOW,
        policy: Policy? = null,
        cache: File = this.cache,
    ): SlimSession =
        SlimSession(
            bundle,
            listOf(runtime),
            SlimOptions(
                cacheDirectory = cache,
                spareDirectory = spare,
                table = table,
                policy = policy,
                budgetUs = budgetUs,
                maxLoaded = maxLoaded,
                firstUse = firstUse,
                exitWitness = { pid, since -> witness.crashed(pid, since) },
                clock = clock,
            ),
            signals,
            Seams(loader, { freeBytes }),
        )

    /** A pause long enough that the loader need not wait for a gap, in which it does all it has to. */
    fun pause() {
        clock.us += 300_000
        while (loader.help()) {}
    }

    /** Some frames at 30 a second, the loader at work between them. */
    fun frames(session: SlimSession, count: Int, load: Boolean = true): FrameResult {
        lateinit var last: FrameResult
        repeat(count) {
            val begun = clock.us
            last = session.run { _, inputs -> inputs.values.first().putFloat(0, 41f) }
            clock.us = maxOf(clock.us, begun + 33_333)
            if (load) {
                val now = clock.us
                pause()
                clock.us = now // what the loader took does not count: it has a core of its own
            }
        }
        return last
    }

    fun artifact(net: String): File =
        File(cache, "edgeslim-session/artifacts/${deployment.plans.getValue("executorch-fp32-16/$net").key}/model.pte")

    override fun close() {
        bundle.close()
    }
}
