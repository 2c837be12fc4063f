package dev.edgeslim.session

import dev.edgeslim.HostException
import dev.edgeslim.OutputException
import dev.edgeslim.UsageException
import dev.edgeslim.control.Policy
import dev.edgeslim.control.Signals
import java.nio.file.Path
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** What docs/session-states.md promises, on a pretended runtime with a pretended clock. */
class SlimSessionTest {
    @TempDir lateinit var folder: Path
    private lateinit var stage: Stage

    @BeforeEach
    fun set() {
        stage = Stage(folder.toFile())
    }

    @AfterEach
    fun strike() {
        stage.close()
    }

    private fun kinds(session: SlimSession) = session.events.map { it.kind }

    @Test
    fun `frames run at the widest that fits, and what a frame gave can be read`() {
        stage.open().use { session ->
            val frame = stage.frames(session, 1)
            assertEquals("1000", frame.plan.net)
            assertEquals(20_000, frame.latencyUs)
            assertEquals(42f, frame.outputs.values.first().getFloat(0))
            assertEquals("starts at 1.0x", frame.reason())
            assertFalse(frame.missed)
            assertEquals("stays at 1.0x", stage.frames(session, 30).reason())
            assertEquals(31, session.counts.frames)
            assertEquals(mapOf("executorch-fp32-16/1000" to 31L), session.counts.framesAt())
        }
        assertEquals(0, stage.runtime.live.size)
    }

    @Test
    fun `no frame waits for a load while anything is ready`() {
        stage.open().use { session ->
            stage.frames(session, 3)
            assertEquals(listOf("executorch-fp32-16/wide-skip", "executorch-fp32-16/1000"), session.loaded)
            session.budgetUs = 7_500
            val loads = stage.runtime.loads.size
            val frame = stage.frames(session, 1, load = false)
            assertEquals(loads, stage.runtime.loads.size)
            assertEquals("0500", frame.decision.artifact.substringAfter('/'))
            assertEquals("wide-skip", frame.plan.net)
            assertTrue(frame.reason().endsWith("ran at wide-skip while 0.5x is prepared"), frame.reason())
            assertEquals("0500", stage.frames(session, 2).plan.net)
        }
    }

    @Test
    fun `the pretended device gets hot, and cool again`() {
        stage.open().use { session ->
            stage.frames(session, 3)
            stage.signals.signals = Signals(status = 3)
            assertEquals("0500", stage.frames(session, 3).plan.net)
            assertEquals(3, session.ladder.rungs.size)
            stage.signals.signals = Signals(status = 0)
            assertEquals("1000", stage.frames(session, 30 * 240).plan.net)
            assertEquals(0, session.counts.misses)
        }
    }

    @Test
    fun `no more than two are in memory`() {
        stage.open().use { session ->
            for (budget in listOf(33_333L, 7_500, 15_000, 33_333)) {
                session.budgetUs = budget
                stage.frames(session, 90)
            }
        }
        assertEquals(2, stage.runtime.mostLive)
    }

    @Test
    fun `with one in memory there are two while one replaces the other`() {
        stage.open(maxLoaded = 1).use { session ->
            assertEquals("1000", stage.frames(session, 5).plan.net)
            assertEquals(1, stage.runtime.live.size)
            session.budgetUs = 7_500
            stage.frames(session, 5)
            assertEquals(listOf("executorch-fp32-16/0500"), session.loaded)
        }
        assertEquals(2, stage.runtime.mostLive)
    }

    @Test
    fun `an artifact that cannot be loaded leaves the ladder`() {
        stage.runtime.failsToLoad.add("1000")
        stage.open().use { session ->
            assertEquals("wide-skip", stage.frames(session, 2).plan.net)
            assertEquals(listOf("0.5x", "wide-skip"), session.ladder.rungs.map { it.label })
            val dropped = session.ladder.dropped.single()
            assertEquals("not_loaded", dropped.reason.code)
            assertTrue("no operator for 1000" in dropped.reason.sentence(), dropped.reason.sentence())
            assertEquals(1, kinds(session).count { it == SessionEventKind.LOST })
            stage.frames(session, 200)
            assertEquals(1, stage.runtime.loads.count { it == "1000" }) // never again in this session
        }
    }

    @Test
    fun `an artifact that fails while running is replaced in the same frame`() {
        stage.open().use { session ->
            stage.frames(session, 3)
            stage.runtime.failsToRun.add("1000")
            val frame = stage.frames(session, 1, load = false)
            assertEquals("wide-skip", frame.plan.net)
            assertEquals(4, session.counts.frames)
            stage.frames(session, 3)
            assertEquals(2, session.ladder.rungs.size)
        }
    }

    @Test
    fun `when all have failed it says why`() {
        stage.runtime.failsToLoad.addAll(listOf("0500", "wide-skip", "1000"))
        val error = assertThrows(HostException::class.java) { stage.open() }
        assertTrue("no operator for 0500" in error.message, error.message)
        assertEquals(0, stage.runtime.live.size)
    }

    @Test
    fun `a mistake of the caller changes nothing`() {
        stage.open().use { session ->
            stage.frames(session, 3)
            val state = session.counts.frames
            assertThrows(ArithmeticException::class.java) { session.run { _, _ -> throw ArithmeticException() } }
            assertEquals(state, session.counts.frames)
            assertThrows(UsageException::class.java) { session.budgetUs = 0 }
            assertThrows(UsageException::class.java) { session.limit("0.3x", null) }
            assertEquals("1000", stage.frames(session, 1).plan.net)
            assertEquals(3, session.ladder.rungs.size)
        }
    }

    @Test
    fun `the time that filling takes is taken off later deadlines`() {
        stage.open().use { session ->
            session.run { _, _ -> stage.clock.us += 20_000 }
            assertEquals(13_333, session.run { _, _ -> stage.clock.us += 20_000 }.reading.deadlineUs)
        }
    }

    @Test
    fun `the app's own bounds`() {
        stage.open().use { session ->
            session.limit(null, "wide-skip")
            assertEquals("wide-skip", stage.frames(session, 3).plan.net)
            session.limit("1.0x", null)
            assertEquals("1000", stage.frames(session, 3).plan.net)
        }
    }

    @Test
    fun `a session that is short of memory gives back what it does not use`() {
        stage.open().use { session ->
            stage.frames(session, 3)
            assertEquals(2, stage.runtime.live.size)
            session.trim()
            stage.pause()
            assertEquals(listOf("executorch-fp32-16/1000"), session.loaded)
            assertEquals(1, stage.runtime.live.size)
        }
    }

    @Test
    fun `a closed session says so, and its artifacts are gone`() {
        val session = stage.open()
        stage.frames(session, 2)
        session.close()
        session.close()
        assertEquals(0, stage.runtime.live.size)
        assertThrows(UsageException::class.java) { session.run { _, _ -> } }
    }

    @Test
    fun `a file that is written into while it is loaded is dropped and rebuilt`() {
        stage.open().use { session ->
            stage.frames(session, 3)
            val file = stage.artifact("1000")
            file.setWritable(true)
            file.writeBytes(ByteArray(file.length().toInt()))
            file.setLastModified(1_000_000_000_000)
            stage.frames(session, 12)
            assertTrue(SessionEventKind.REPAIRED in kinds(session), session.events.toString())
            assertEquals("1000", stage.frames(session, 2).plan.net)
        }
    }

    @Test
    fun `a file that was damaged between two sessions is rebuilt`() {
        stage.open().use { stage.frames(it, 2) }
        val file = stage.artifact("1000")
        file.setWritable(true)
        file.appendBytes(byteArrayOf(1))
        stage.open().use { session ->
            assertEquals("1000", stage.frames(session, 2).plan.net)
            assertEquals(1, kinds(session).count { it == SessionEventKind.REPAIRED })
        }
    }

    @Test
    fun `where the cache cannot be written the spare one is used`() {
        val blocked = folder.resolve("blocked").toFile().apply { writeText("a file, no folder") }
        stage.open(cache = blocked).use { session ->
            assertEquals("1000", stage.frames(session, 5).plan.net)
            val said = session.events.single { it.kind == SessionEventKind.CACHE }
            assertTrue("files are kept in ${stage.spare}" in said.message, said.message)
        }
    }

    @Test
    fun `a full disk at the start is an error, later it keeps what is loaded`() {
        stage.freeBytes = 0
        assertThrows(OutputException::class.java) { stage.open() }
        stage.freeBytes = 1L shl 40
        stage.open(maxLoaded = 1).use { session ->
            stage.frames(session, 2)
            stage.freeBytes = 0
            session.budgetUs = 7_500
            assertEquals("1000", stage.frames(session, 5).plan.net)
            assertEquals(1, kinds(session).count { it == SessionEventKind.CACHE })
            stage.freeBytes = 1L shl 40
            stage.clock.us += 11_000_000
            assertEquals("0500", stage.frames(session, 5).plan.net)
        }
    }

    @Test
    fun `a device that nobody has measured is measured once`() {
        stage.open(table = null).use { session ->
            assertEquals("1000", stage.frames(session, 2).plan.net)
            assertEquals(listOf(5_000L, 10_000, 20_000), session.ladder.rungs.map { it.timeUs })
            assertTrue(session.table.rows.all { it.notes.single().startsWith("taken by a session") })
        }
        stage.open(table = null).use { session ->
            assertEquals("the table measured here before", session.events.first().message)
            assertEquals(3, session.ladder.rungs.size)
        }
    }

    @Test
    fun `the rest is measured in the gaps between frames`() {
        stage.open(table = null, firstUse = FirstUse.GAPS, maxLoaded = 3).use { session ->
            assertEquals(listOf("0.5x", "1.0x"), session.ladder.rungs.map { it.label })
            repeat(60) {
                stage.clock.us += 100_000 // an app with time
                stage.frames(session, 1)
            }
            assertEquals(listOf("0.5x", "wide-skip", "1.0x"), session.ladder.rungs.map { it.label })
            assertEquals(3, session.table.rows.size)
        }
        stage.open(table = null).use { assertEquals("the table measured here before", it.events.first().message) }
    }

    @Test
    fun `a policy of one rung never switches`() {
        stage.open(policy = Policy.FIXED).use { session ->
            session.budgetUs = 5_000
            assertEquals("1000", stage.frames(session, 20).plan.net)
            assertEquals(0, session.counts.switches)
        }
    }

    @Test
    fun `a frame allocates nothing`() {
        stage.open().use { session ->
            val filler = FrameFiller { _, _ -> }
            val threads = java.lang.management.ManagementFactory.getThreadMXBean() as com.sun.management.ThreadMXBean
            stage.frames(session, 60)
            fun allocated(frames: Int): Long {
                val before = threads.getThreadAllocatedBytes(Thread.currentThread().id)
                repeat(frames) {
                    session.run(filler)
                    stage.clock.us += 10_000
                }
                return threads.getThreadAllocatedBytes(Thread.currentThread().id) - before
            }
            allocated(2000)
            val bytes = allocated(1000)
            assertTrue(bytes < 1000, "$bytes bytes in 1000 frames")
        }
    }
}
