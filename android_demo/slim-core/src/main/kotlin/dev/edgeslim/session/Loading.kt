package dev.edgeslim.session

import java.util.concurrent.CountDownLatch
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

/** Runs jobs one after the other. */
internal interface Loader {
    /** Runs [job] after those before it; it must not throw. */
    fun submit(job: () -> Unit)

    /** Runs [job] there and comes back when it is done. */
    fun waitFor(job: () -> Unit)

    /**
     * Runs one job here, where jobs have no thread of their own (in tests); false where they have, or there is none.
     */
    fun help(): Boolean
}

/**
 * The one thread of the process that loads and closes, for all sessions: runtimes do not like two loads at once
 * (ExecuTorch before 1.4 raced while delegates were initialised).
 */
internal object LoadingThread : Loader {
    private val jobs = LinkedBlockingQueue<() -> Unit>()
    private val thread =
        Thread({ while (true) run(jobs.take()) }, "edgeslim-loading").apply {
            isDaemon = true
            start()
        }

    private fun run(job: () -> Unit) {
        try {
            job()
        } catch (error: Exception) { // a fault of ours; the thread serves other sessions too
            error.printStackTrace()
        }
    }

    override fun submit(job: () -> Unit) {
        jobs.put(job)
    }

    override fun waitFor(job: () -> Unit) {
        if (Thread.currentThread() === thread) return job()
        val done = CountDownLatch(1)
        submit {
            try {
                job()
            } finally {
                done.countDown()
            }
        }
        done.await()
    }

    override fun help(): Boolean = false
}

/** Knows when a frame is being computed, so that the loader begins when one has just ended. */
internal class FrameGate(private val clock: Clock) {
    private val lock = ReentrantLock()
    private val change = lock.newCondition()
    @Volatile private var waiting = 0
    @Volatile private var busy = false
    @Volatile private var endedUs = NEVER
    private var open = 0

    /** How many frames have begun. */
    @Volatile
    var begun: Long = 0
        private set

    /** How long the time between two frames has been lately. */
    @Volatile
    var idleUs: Long = 0
        private set

    fun begin() {
        busy = true
        begun++
        if (endedUs != NEVER) idleUs += (clock.nowUs() - endedUs - idleUs) shr 2
    }

    fun end() {
        endedUs = clock.nowUs()
        busy = false
        if (waiting > 0) lock.withLock { change.signalAll() }
    }

    /** While nobody computes a frame but waits for the loader: no gap is needed. */
    inline fun <T> opened(action: () -> T): T {
        hold(1)
        try {
            return action()
        } finally {
            hold(-1)
        }
    }

    fun hold(count: Int) {
        lock.withLock {
            open += count
            change.signalAll()
        }
    }

    /**
     * Returns when [needUs] without a frame are likely, else when a frame has just ended; false: out of patience. Where
     * frames follow each other without any pause there is no better moment than the end of one.
     */
    fun waitForGap(needUs: Long = 0): Boolean =
        lock.withLock {
            val giveUp = System.nanoTime() + PATIENCE_NS
            val seen = endedUs
            waiting++
            try {
                while (System.nanoTime() < giveUp) {
                    if (open > 0) return true
                    if (!busy) {
                        val sinceUs = if (endedUs == NEVER) Long.MAX_VALUE else clock.nowUs() - endedUs
                        if (endedUs != seen || sinceUs > PAUSE_US || sinceUs + needUs <= idleUs) return true
                    }
                    change.await(POLL_MS, TimeUnit.MILLISECONDS)
                }
                false
            } finally {
                waiting--
            }
        }

    private companion object {
        const val NEVER = Long.MIN_VALUE
        const val PATIENCE_NS = 1_000_000_000L
        const val PAUSE_US = 250_000L // without a frame for so long, an app is not in a hurry
        const val POLL_MS = 50L
    }
}
