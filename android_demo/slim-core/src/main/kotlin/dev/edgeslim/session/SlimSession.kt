package dev.edgeslim.session

import dev.edgeslim.HostException
import dev.edgeslim.UsageException
import dev.edgeslim.control.Decision
import dev.edgeslim.control.Ladder
import dev.edgeslim.control.LatencyTable
import dev.edgeslim.control.PowerBudget
import dev.edgeslim.control.Reading
import dev.edgeslim.control.Reason
import dev.edgeslim.control.SignalSource
import dev.edgeslim.control.Signals
import dev.edgeslim.control.WidthController
import dev.edgeslim.format.SlimBundle
import java.io.Closeable
import kotlin.concurrent.withLock

/**
 * The one object an app holds: a bundle, a runtime and a controller.
 *
 * ```
 * run(fill) ─► Reading (clock, last latency, heat, battery) ─► WidthController.step ─► Decision
 *                 ▲                                                                      │
 *                 │      pool.pick(decided) ─► fill ─► Runner.run ─► FrameResult         ▼
 *                 └── latency, the rung that really ran ◄──┘     pool.want(decided, likely next)
 * ```
 *
 * An artifact that is not ready yet never holds a frame up: the frame runs at one that is there, and the controller is
 * told which. docs/session-states.md has the session's states and events. Frames come from one thread at a time;
 * opening takes up to some seconds on a device that has not been measured, so open it off the main thread.
 */
public class SlimSession
internal constructor(
    bundle: SlimBundle,
    runtimes: List<Runtime>,
    options: SlimOptions,
    private val signals: SignalSource,
    seams: Seams,
) : Closeable {
    private val clock = options.clock
    private val budget = Budget(options.budgetUs, options.overheadUs)
    private val opened = Opening(bundle, runtimes, options, signals, seams)
    private val pool = opened.pool
    private val plans = opened.deployment.plans
    private val reading = Reading(0, 0)
    private val result = FrameResult()
    private var observedUs = UNKNOWN_US
    private var observedAt: String? = null
    private var rungOf: Map<String?, Int> = emptyMap()
    private var ran: LoadedArtifact? = null
    private var lookedRung = -1
    private var lookedCap = -1
    private var lookedChanges = -1L
    private var wanted: Pair<String, String?>? = null
    private var narrowest: ArtifactPlan? = null
    private var widest: ArtifactPlan? = null
    private var userMin = 0
    private var userCap = Signals.UNKNOWN
    private val lost = LinkedHashMap<String, String>()
    private var whole = opened.ladder
    private var controller = WidthController(whole, opened.policy)
    private var prefetch = Prefetch(controller)
    private var closed = false

    /** What inference may draw on average in milliwatts, or -1. */
    @Volatile public var powerMw: Int = Signals.UNKNOWN

    /** Sets [powerMw] before every frame so that the battery lasts. */
    @Volatile public var powerBudget: PowerBudget? = null

    /** Frames, misses and switches so far. */
    public val counts: SessionCounts = SessionCounts()

    init {
        try {
            useRungs()
            warmFirst()
        } catch (error: Throwable) {
            close()
            throw error
        }
    }

    /** Time in microseconds from one frame to the next that it must fit in. */
    public var budgetUs: Long
        get() = synchronized(this) { budget.budgetUs }
        set(value) = synchronized(this) { budget.budgetUs = value }

    /** What the app itself spends per frame in microseconds. */
    public var overheadUs: Long
        get() = synchronized(this) { budget.overheadUs }
        set(value) = synchronized(this) { budget.overheadUs = value }

    /** The rungs in use now; `dropped` says why others are not. */
    public val ladder: Ladder
        get() = synchronized(this) { controller.ladder }

    /** What the ladder stands on. */
    public val table: LatencyTable
        get() = opened.table

    /** The runtime's name. */
    public val target: String
        get() = opened.deployment.target

    /** What the session may run, from narrow to wide. */
    public val artifacts: List<ArtifactPlan> = plans.values.toList()

    /** Ids of the artifacts in memory, ready to run, from narrow to wide. */
    public val loaded: List<String>
        get() = pool.readyNow().let { ready -> plans.keys.filter { it in ready } }

    /** What happened beside frames, oldest first, at most 256. */
    public val events: List<SessionEvent>
        get() = opened.events.all()

    /** Whether nothing is being loaded or closed. */
    internal val idle: Boolean
        get() = pool.idle()

    /**
     * The app's own bounds, by id or label; null: none. Caps of heat and battery win over [narrowest].
     *
     * @throws UsageException no such artifact.
     */
    @Synchronized
    public fun limit(narrowest: String?, widest: String?) {
        this.narrowest = narrowest?.let(opened.deployment::named)
        this.widest = widest?.let(opened.deployment::named)
        useRungs()
    }

    /** Gives back what is loaded but not in use: for a system that is short of memory. */
    @Synchronized
    public fun trim() {
        val now = ran?.plan?.artifact ?: return
        wanted = null
        pool.trim(now)
    }

    /**
     * One frame. [filler] writes the inputs of what runs; the time it takes is taken off the deadlines that follow.
     *
     * @throws UsageException the session is closed.
     * @throws HostException every artifact has failed.
     * @throws dev.edgeslim.OutputException nothing is loaded and no cache can be written.
     */
    @Synchronized
    public fun run(filler: FrameFiller): FrameResult {
        if (closed) throw UsageException("this session is closed")
        opened.refined?.let {
            opened.refined = null
            whole = it
            dropFailed()
        }
        while (true) {
            if (pool.hasNews) dropFailed()
            read()
            val decision = controller.step(reading)
            val loaded = loadedFor(decision) ?: continue // an artifact failed; the others decide again
            if (frame(loaded, filler, decision)) return result
        }
    }

    private fun read() {
        val now = clock.nowUs()
        val said = signals.read()
        reading.take(said)
        reading.nowUs = now
        reading.deadlineUs = budget.deadlineUs()
        reading.observedUs = observedUs
        reading.observedRung = rungOf[observedAt] ?: Signals.UNKNOWN
        val lasting = powerBudget
        reading.powerMw = if (lasting == null) powerMw else lasting.update(now, said.batteryPermille)
        reading.inferencesPerKs = budget.inferencesPerKs(now)
        reading.userCap = userCap
        reading.userMin = userMin
    }

    /**
     * What to run; null when the ladder has changed meanwhile. While the decided rung, its cap and what the pool holds
     * stay the same and the decided artifact runs, looking around at every fourth frame is enough.
     */
    private fun loadedFor(decision: Decision): LoadedArtifact? {
        val same = lookedRung == decision.rung && lookedCap == decision.cap && lookedChanges == pool.changes
        ran?.let { if (same && counts.frames and LOOK_MASK != 0L) return it }
        val loaded = readyFor(decision) ?: return null
        lookedRung = decision.rung
        lookedCap = decision.cap
        lookedChanges = pool.changes
        ran = if (loaded.plan.artifact == decision.artifact) loaded else null
        return loaded
    }

    private fun readyFor(decision: Decision): LoadedArtifact? {
        val following = prefetch.next(decision, reading.nowUs, maxOf(Prefetch.LEAD_US, 3 * pool.longestLoadUs))
        val beside = opened.gaps?.offer() ?: if (following >= 0) controller.ladder.rungs[following].artifact else null
        // First what runs now, then what is wanted: the loader, making room, never drops what runs.
        val chosen = pool.pick(decision.artifact)
        if (wanted?.first != decision.artifact || wanted?.second != beside) {
            wanted = Pair(decision.artifact, beside)
            pool.want(listOfNotNull(decision.artifact, beside))
        }
        if (chosen != null) return chosen
        if (!pool.awaitAny() && !pool.hasNews) {
            throw pool.refusal ?: HostException("${decision.label} cannot be loaded")
        }
        return if (pool.hasNews) null else pool.pick(decision.artifact)
    }

    /** False when the runtime failed; its artifact is then gone. */
    private fun frame(loaded: LoadedArtifact, filler: FrameFiller, decision: Decision): Boolean {
        loaded.inUse.withLock {
            val filling = clock.nowUs()
            for (buffer in loaded.inputs) buffer.clear()
            filler.fill(loaded.plan, loaded.runner.inputs)
            val filled = clock.nowUs() - filling
            budget.filled(filled)
            observedUs = UNKNOWN_US
            opened.gate.begin()
            try {
                val started = clock.nowUs()
                loaded.runner.run()
                observedUs = maxOf(clock.nowUs() - started, 1L)
            } catch (error: Exception) {
                ran = null
                pool.fail(loaded, "failed while running: $error")
                return false
            } catch (error: LinkageError) {
                ran = null
                pool.fail(loaded, "failed while running: $error")
                return false
            } finally {
                opened.gate.end()
            }
            for (buffer in loaded.outputs) buffer.clear()
            observedAt = loaded.plan.artifact
            result.set(loaded, observedUs, filled, reading, decision)
            counts.add(result)
            return true
        }
    }

    // Changing the ladder

    /** After the ladder or the app's bounds have changed. */
    private fun useRungs() {
        val rungs = controller.ladder.rungs.map { it.artifact }
        pool.rank(rungs)
        rungOf = rungs.withIndex().associate<IndexedValue<String>, String?, Int> { it.value to it.index }
        lookedRung = -1
        wanted = null
        userMin =
            narrowest?.let { low -> rungOf[low.artifact] ?: rungs.count { plans.getValue(it).macs < low.macs } } ?: 0
        userCap =
            widest?.let { high ->
                rungOf[high.artifact] ?: maxOf(rungs.count { plans.getValue(it).macs <= high.macs } - 1, 0)
            } ?: Signals.UNKNOWN
    }

    /** A new controller on the rungs that are left; it takes over what the old one had learned. */
    private fun dropFailed() {
        var rest = whole
        lost.putAll(pool.takeFailures())
        for (rung in whole.rungs) {
            val why = lost[rung.artifact] ?: continue
            if (rest.rungs.size == 1) {
                val whys = lost.entries.joinToString("; ") { (artifact, reason) -> "$artifact: $reason" }
                throw HostException("no artifact of the bundle can be used here ($whys)")
            }
            rest = rest.without(rung.artifact, Reason.of("not_loaded", "why" to why))
        }
        whole = rest
        controller = WidthController(rest, controller.policy, heirOf = controller)
        prefetch = Prefetch(controller)
        useRungs()
    }

    /** Loads what the first frame will most likely run at, so that it does not wait. */
    private fun warmFirst() {
        while (true) {
            if (pool.hasNews) dropFailed()
            read()
            val guess = WidthController(controller.ladder, controller.policy).step(reading)
            if (pool.bring(guess.artifact) != null) break
            if (!pool.hasNews) {
                pool.refusal?.let { throw it }
                break
            }
        }
        budget.begin()
    }

    /** Frees every artifact; the bundle stays open. Closing twice is nothing. */
    @Synchronized
    override fun close() {
        if (closed) return
        closed = true
        ran = null
        pool.close()
    }

    public companion object {
        private const val UNKNOWN_US = -1L
        private const val LOOK_MASK = 3L

        /**
         * Opens a session on [bundle], which stays the caller's and has to stay open as long as the session.
         *
         * @param runtimes in the order of preference.
         * @param signals asked before every frame: must be quick, so an adapter that polls keeps its last answer.
         * @throws dev.edgeslim.format.FormatException the bundle is damaged.
         * @throws UsageException no runtime for the bundle, no such variant.
         * @throws dev.edgeslim.control.TableException no usable row in the table.
         * @throws dev.edgeslim.control.PolicyException the bundle's policy breaks a rule.
         * @throws HostException no artifact of the bundle can be loaded.
         * @throws dev.edgeslim.OutputException no cache can be written, and nothing is in one.
         */
        @JvmStatic
        public fun open(
            bundle: SlimBundle,
            runtimes: List<Runtime>,
            options: SlimOptions,
            signals: SignalSource,
        ): SlimSession = SlimSession(bundle, runtimes, options, signals, Seams())
    }
}
