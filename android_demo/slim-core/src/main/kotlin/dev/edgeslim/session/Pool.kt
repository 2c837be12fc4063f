package dev.edgeslim.session

import dev.edgeslim.OutputException
import java.io.File
import java.nio.ByteBuffer
import java.util.ArrayDeque
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

/** One artifact, warm: its next run takes as long as any other. */
internal class LoadedArtifact(
    val plan: ArtifactPlan,
    val runner: Runner,
    val cached: CachedArtifact,
    val loadUs: Long,
) {
    /** Held while it runs: a frame and a measurement in a gap must not meet. */
    val inUse = ReentrantLock()

    /** As arrays, so that a frame allocates nothing to go through them. */
    val inputs: Array<ByteBuffer> = runner.inputs.values.toTypedArray()
    val outputs: Array<ByteBuffer> = runner.outputs.values.toTypedArray()

    fun close() {
        inUse.withLock {
            try {
                runner.close()
            } finally {
                cached.close()
            }
        }
    }
}

/**
 * The artifacts in memory, and the loader that brings the next one in while frames go on.
 *
 * ```
 * session ─ want(decided, likely next) ─► loading thread: cache ─► load ─► one inference ─► ready
 *    └──── pick(decided) ◄── ready ───────────────────────────────────────────────────────────┘
 * ```
 *
 * At most [capacity] artifacts are in memory (with 1: two during a switch). One frame at a time may run what [pick]
 * handed out last.
 *
 * @param caches where files are kept; the later ones are used when those before cannot be written.
 */
internal class Pool(
    private val deployment: Deployment,
    private val runtime: Runtime,
    private val caches: List<ArtifactCache>,
    private val journal: Journal,
    private val threads: Int,
    private val capacity: Int,
    private val gate: FrameGate,
    private val events: EventLog,
    private val clock: Clock,
    private val loader: Loader,
) {
    private val lock = ReentrantLock()
    private val change = lock.newCondition()
    private val ready = LinkedHashMap<String, LoadedArtifact>()
    private var wanted = emptyList<String>()
    private var ranks: Map<String, Int> = deployment.plans.keys.withIndex().associate { it.value to it.index }
    private val closing = ArrayList<LoadedArtifact>()
    private val retryAtUs = HashMap<String, Long>()
    private val failed = HashSet<String>()
    private var news = ArrayList<Pair<String, String>>()
    private var pumping = false
    private var closed = false
    private var elsewhere = false // whether files are kept in another cache than the first
    private val loadTimesUs = ArrayDeque<Long>()

    /** Counts up whenever what is ready, or what [pick] chose, becomes another: who looks compares it. */
    @Volatile
    var changes: Long = 0
        private set

    /** What [pick] chose last; null once it is gone. */
    @Volatile
    var current: LoadedArtifact? = null
        private set

    /** Of the last eight loads the longest: how long before it is needed an artifact has to be wanted. */
    @Volatile
    var longestLoadUs: Long = 0
        private set

    /** Why a cache could not be written lately; null once it could. */
    @Volatile
    var refusal: OutputException? = null
        private set

    @Volatile
    var hasNews: Boolean = false
        private set

    // The session's side

    /** These, the most urgent first, should be ready; others may be dropped for them. */
    fun want(artifacts: List<String>) {
        lock.withLock {
            wanted = artifacts
            pumpSoon()
        }
    }

    /** The rungs, from narrow to wide. */
    fun rank(artifacts: List<String>) {
        lock.withLock { ranks = artifacts.withIndex().associate { it.value to it.index } }
    }

    /**
     * What to run when [artifact] was decided: that, else the widest ready rung below, else the narrowest above; null
     * when nothing is ready. An artifact whose file was written into is dropped and rebuilt.
     */
    fun pick(artifact: String): LoadedArtifact? {
        val now = current
        if (now != null && now.plan.artifact == artifact && now.cached.intact()) return now
        return lock.withLock {
            for (loaded in ready.values.toList()) if (!loaded.cached.intact()) retire(loaded)
            val chosen = nearest(artifact)
            if (chosen !== current) {
                current = chosen
                changes++
            }
            pumpSoon() // the old one may go now, or make room
            chosen
        }
    }

    private fun nearest(artifact: String): LoadedArtifact? {
        val decided = ranks[artifact] ?: -1
        val rungs = ready.keys.filter { it in ranks }.sortedBy { ranks.getValue(it) }
        val name =
            rungs.lastOrNull { ranks.getValue(it) <= decided }
                ?: rungs.firstOrNull()
                ?: deployment.plans.keys.firstOrNull { it in ready }
        return ready[name]
    }

    /** Until anything is ready, or nothing more can come for now; whether something is ready. */
    fun awaitAny(): Boolean {
        await { ready.isNotEmpty() || !pumping }
        return lock.withLock { ready.isNotEmpty() }
    }

    /** [artifact], waited for; null if it cannot be had now ([refusal] and [takeFailures] say why). */
    fun bring(artifact: String): LoadedArtifact? {
        want(listOf(artifact))
        await { artifact in ready || !pumping }
        return pick(artifact)?.takeIf { it.plan.artifact == artifact }
    }

    private fun await(done: () -> Boolean) {
        gate.opened {
            while (true) {
                lock.withLock { if (done()) return }
                if (!loader.help()) lock.withLock { if (!done()) change.await() }
            }
        }
    }

    /** [artifact] if it is ready, without choosing it; for the loading thread, which alone closes them. */
    fun peek(artifact: String): LoadedArtifact? = lock.withLock { ready[artifact] }

    fun hasFailed(artifact: String): Boolean = lock.withLock { artifact in failed }

    /** Artifacts that turned out unusable since the last call, and why. */
    fun takeFailures(): List<Pair<String, String>> =
        lock.withLock {
            hasNews = false
            news.also { news = ArrayList() }
        }

    /** A loaded artifact misbehaved: never run it again. */
    fun fail(loaded: LoadedArtifact, reason: String) {
        lock.withLock {
            retire(loaded)
            giveUp(loaded.plan.artifact, reason)
            pumpSoon()
        }
    }

    /** Only [artifact], and what runs now, stay. */
    fun trim(artifact: String) {
        lock.withLock {
            wanted = listOf(artifact)
            for (loaded in ready.values.toList()) {
                if (loaded !== current && loaded.plan.artifact != artifact) retire(loaded)
            }
            pumpSoon()
        }
    }

    /** Ids of what is ready. */
    fun readyNow(): Set<String> = lock.withLock { ready.keys.toSet() }

    /** Whether everything wanted is ready, given up or waiting for a retry. */
    fun idle(): Boolean = lock.withLock { !pumping && closing.isEmpty() && next() == null }

    /** Frees every artifact; returns when it is done. */
    fun close() {
        lock.withLock {
            closed = true
            wanted = emptyList()
            current = null
            for (loaded in ready.values.toList()) retire(loaded)
            change.signalAll()
        }
        gate.opened { loader.waitFor(::closeRetired) }
        for (cache in caches) cache.close()
    }

    // The loading thread's side

    private fun pumpSoon() {
        if (pumping || closed || (closing.isEmpty() && excess().isEmpty() && next() == null)) return
        pumping = true
        loader.submit(::pump)
    }

    /** One step: close what is retired, or load one artifact; then again if there is more to do. */
    private fun pump() {
        try {
            val artifact =
                lock.withLock {
                    excess().forEach(::retire)
                    if (closed) null else next()
                }
            closeRetired()
            if (artifact != null) bringIn(artifact)
        } finally {
            lock.withLock {
                pumping = false
                pumpSoon()
                change.signalAll()
            }
        }
    }

    /** The most urgent artifact that is missing, may be tried, and has room (or can be made room for). */
    private fun next(): String? {
        val now = clock.nowUs()
        for ((rank, artifact) in wanted.withIndex()) {
            if (artifact in ready || artifact in failed || (retryAtUs[artifact] ?: now) > now) continue
            val limit = if (rank == 0) maxOf(capacity, 2) else capacity
            val keeping = ready.count { (name, loaded) -> wanted.indexOf(name) in 0 until rank || loaded === current }
            return if (keeping < limit) artifact else null
        }
        return null
    }

    /** Artifacts to drop now: those beyond the limit, and those in the way of what is to be loaded next. */
    private fun excess(): List<LoadedArtifact> {
        val coming = next()
        val limit =
            when (coming) {
                null -> capacity
                wanted[0] -> maxOf(capacity, 2) - 1
                else -> capacity - 1
            }
        val spare = ready.filter { (name, loaded) -> loaded !== current && name != wanted.firstOrNull() }.keys
        val order = spare.sortedBy { name -> wanted.indexOf(name).let { if (it < 0) wanted.size else it } }
        return order.reversed().take(maxOf(ready.size - limit, 0)).map { ready.getValue(it) }
    }

    private fun retire(loaded: LoadedArtifact) {
        ready.remove(loaded.plan.artifact)
        changes++
        if (current === loaded) current = null
        closing.add(loaded)
    }

    private fun closeRetired() {
        val retired = lock.withLock { closing.toList().also { closing.clear() } }
        for (loaded in retired) {
            gate.waitForGap()
            try {
                loaded.close()
            } catch (error: Exception) { // it is gone all the same
                events.add(SessionEventKind.LOST, "failed while closing: $error", loaded.plan)
            }
        }
    }

    private fun giveUp(artifact: String, reason: String) {
        failed.add(artifact)
        news.add(Pair(artifact, reason))
        hasNews = true
        changes++
        events.add(SessionEventKind.LOST, reason, deployment.plans.getValue(artifact))
    }

    private fun bringIn(artifact: String) {
        val plan = deployment.plans.getValue(artifact)
        val loaded =
            try {
                load(plan)
            } catch (error: OutputException) {
                val known =
                    lock.withLock {
                        retryAtUs[artifact] = clock.nowUs() + RETRY_US
                        refusal.also { refusal = error }
                    }
                if (known == null) {
                    events.add(SessionEventKind.CACHE, "${error.message}; staying at what is loaded", plan)
                }
                return
            } catch (error: Exception) { // whatever a runtime or a damaged bundle throws: the others go on
                return lock.withLock { giveUp(artifact, error.toString()) }
            } catch (error: LinkageError) {
                return lock.withLock { giveUp(artifact, error.toString()) }
            } catch (error: OutOfMemoryError) {
                return lock.withLock { giveUp(artifact, error.toString()) }
            }
        lock.withLock {
            if (closed) {
                closing.add(loaded)
            } else {
                refusal = null
                ready[artifact] = loaded
                changes++
                if (loadTimesUs.size == 8) loadTimesUs.removeFirst()
                loadTimesUs.addLast(loaded.loadUs)
                longestLoadUs = loadTimesUs.max()
            }
        }
        closeRetired()
    }

    /** Rebuild, load and warm up; again if the file was touched meanwhile. */
    private fun load(plan: ArtifactPlan): LoadedArtifact {
        val started = clock.nowUs()
        for (attempt in 1..LOAD_ATTEMPTS) {
            val cached = ensure(plan)
            val ensured = clock.nowUs()
            val runner =
                try {
                    journal.loading(plan.key) { start(plan, cached.root) }
                } catch (error: Throwable) {
                    val changed = !cached.inPlace()
                    cached.close()
                    if (changed && attempt < LOAD_ATTEMPTS) continue
                    throw error
                }
            if (cached.inPlace()) {
                journal.succeeded(plan.key)
                val loadUs = clock.nowUs() - started
                val text = "ready after ${loadUs / 1000} ms (${(ensured - started) / 1000} ms for its file)"
                events.add(SessionEventKind.LOADED, text, plan)
                return LoadedArtifact(plan, runner, cached, loadUs)
            }
            runner.close()
            cached.close()
        }
        throw OutputException("the cached file of ${plan.label} keeps changing while it is loaded")
    }

    private fun ensure(plan: ArtifactPlan): CachedArtifact {
        var first: OutputException? = null
        for (cache in caches) {
            val repaired = cache.repaired
            val cached =
                try {
                    cache.ensure(plan) { deployment.build(plan.artifact, it) }
                } catch (error: OutputException) {
                    if (first == null) first = error
                    continue
                }
            if (cache.repaired > repaired) {
                events.add(SessionEventKind.REPAIRED, "its cached file was damaged and has been rebuilt", plan)
            }
            if (first != null && !elsewhere) {
                events.add(SessionEventKind.CACHE, "${first.message}; files are kept in ${cache.folder}")
            }
            elsewhere = first != null
            return cached
        }
        throw first!!
    }

    /** Load and run once, each when a frame has just ended; the first run of a runtime packs weights. */
    private fun start(plan: ArtifactPlan, path: File): Runner {
        gate.waitForGap(longestLoadUs / 2)
        val runner = runtime.load(path, plan, threads)
        try {
            for (buffer in runner.inputs.values) zero(buffer)
            gate.waitForGap(longestLoadUs / 2)
            runner.run()
        } catch (error: Throwable) {
            runner.close()
            throw error
        }
        return runner
    }

    private fun zero(buffer: ByteBuffer) {
        val bytes = buffer.duplicate()
        bytes.clear()
        while (bytes.hasRemaining()) bytes.put(0)
    }

    private companion object {
        const val RETRY_US = 10_000_000L // after the cache could not be written
        const val LOAD_ATTEMPTS = 5 // a file that is changed or removed while it is being loaded
    }
}
