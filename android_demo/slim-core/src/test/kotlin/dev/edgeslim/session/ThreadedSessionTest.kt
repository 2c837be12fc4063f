package dev.edgeslim.session

import dev.edgeslim.control.Policy
import dev.edgeslim.control.Signals
import java.nio.file.Path
import java.time.Duration
import java.util.concurrent.CountDownLatch
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTimeoutPreemptively
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** The session with the process's real loading thread; nothing is asserted about how long things take. */
class ThreadedSessionTest {
    @TempDir lateinit var folder: Path

    private fun open(stage: Stage, listener: ((SessionEvent) -> Unit)? = null): SlimSession =
        SlimSession.open(
            stage.bundle,
            listOf(stage.runtime),
            SlimOptions(
                cacheDirectory = stage.cache,
                spareDirectory = stage.spare,
                table = stage.table(),
                policy = Policy.BALANCED,
                clock = stage.clock,
                listener = listener,
            ),
            stage.signals,
        )

    private fun frame(session: SlimSession, stage: Stage): FrameResult {
        stage.clock.us += 300_000 // an app that is in no hurry: the loader need not wait for a gap
        return session.run { _, _ -> }
    }

    @Test
    fun `frames go on while the loading thread is stuck, and switch when it is done`() =
        assertTimeoutPreemptively(Duration.ofSeconds(60)) {
            Stage(folder.toFile()).use { stage ->
                open(stage).use { session ->
                    while ("executorch-fp32-16/wide-skip" !in session.loaded) frame(session, stage)
                    val stuck = CountDownLatch(1)
                    val inside = CountDownLatch(1)
                    stage.runtime.whileLoading = {
                        inside.countDown()
                        stuck.await()
                    }
                    try {
                        stage.signals.signals = Signals(status = 4)
                        assertEquals("wide-skip", frame(session, stage).plan.net)
                        inside.await()
                        repeat(100) { assertEquals("wide-skip", frame(session, stage).plan.net) }
                    } finally {
                        stuck.countDown()
                    }
                    while (frame(session, stage).plan.net != "0500") Thread.yield()
                }
                assertEquals(0, stage.runtime.live.size)
            }
        }

    @Test
    fun `two sessions share the loading thread and the cache`() =
        assertTimeoutPreemptively(Duration.ofSeconds(60)) {
            val heard = java.util.concurrent.ConcurrentLinkedQueue<SessionEvent>()
            Stage(folder.toFile()).use { stage ->
                open(stage, heard::add).use { first ->
                    open(stage, heard::add).use { second ->
                        repeat(50) {
                            frame(first, stage)
                            frame(second, stage)
                        }
                        assertEquals(listOf(50L, 50L), listOf(first.counts.frames, second.counts.frames))
                    }
                    frame(first, stage)
                }
                assertEquals(0, stage.runtime.live.size)
            }
            assertTrue(
                heard.none { it.kind == SessionEventKind.LOST || it.kind == SessionEventKind.REPAIRED },
                "$heard",
            )
        }

    @Test
    fun `a listener that throws costs nothing but words`() =
        assertTimeoutPreemptively(Duration.ofSeconds(60)) {
            val said = java.io.ByteArrayOutputStream()
            val console = System.err
            System.setErr(java.io.PrintStream(said, true))
            try {
                Stage(folder.toFile()).use { stage ->
                    open(stage) { throw UnsupportedOperationException("in the listener") }
                        .use { session ->
                            while ("executorch-fp32-16/wide-skip" !in session.loaded) frame(session, stage)
                            assertEquals("1000", frame(session, stage).plan.net)
                        }
                    assertEquals(0, stage.runtime.live.size)
                }
            } finally {
                System.setErr(console)
            }
            assertTrue("in the listener" in said.toString(), said.toString())
        }
}
