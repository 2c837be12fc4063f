package dev.edgeslim.session

import java.io.File
import java.nio.file.Path
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** The journal's rule of docs/session-states.md. */
class JournalTest {
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

    private val own
        get() = File(stage.cache, "edgeslim-session")

    private fun key(net: String) = stage.deployment.plans.getValue("executorch-fp32-16/$net").key

    private fun journal() =
        Journal(OwnFolder(stage.cache), stage.clock, { pid, since -> stage.witness.crashed(pid, since) })

    /** What a process that died inside a load leaves. */
    private fun died(net: String, pid: Long = 77) {
        OwnFolder(stage.cache).make()
        val loading = File(own, "loading").apply { mkdirs() }
        File(loading, "${key(net)}.0000abcd").writeText("{\"at_s\":${stage.clock.unixS()},\"pid\":$pid}")
    }

    private fun leftOut() = journal().leftOut().keys

    @Test
    fun `two crashes leave an artifact out, for longer each time`() {
        stage.witness = ExitWitness { pid, _ -> pid == 77L }
        died("1000")
        assertTrue(leftOut().isEmpty())
        for (pauseS in listOf(3600L, 24 * 3600, 7 * 24 * 3600, 7 * 24 * 3600)) {
            died("1000")
            assertEquals(setOf(key("1000")), leftOut())
            stage.clock.startS += pauseS - 1
            assertEquals(setOf(key("1000")), leftOut())
            stage.clock.startS += 1
            assertTrue(leftOut().isEmpty(), "after $pauseS s")
        }
    }

    @Test
    fun `a kill by the user or the system is no crash`() {
        repeat(5) {
            died("1000")
            assertTrue(leftOut().isEmpty())
        }
        assertEquals(0, File(own, "loading").list()!!.size)
    }

    @Test
    fun `a session leaves out what has crashed, but never the narrowest`() {
        stage.witness = ExitWitness { _, _ -> true }
        repeat(2) {
            died("1000")
            died("0500")
            leftOut()
        }
        stage.open().use { session ->
            assertEquals("wide-skip", stage.frames(session, 2).plan.net)
            assertEquals(listOf("0.5x", "wide-skip"), session.ladder.rungs.map { it.label })
            val said = session.events.single { it.kind == SessionEventKind.LEFT_OUT }
            assertEquals("executorch-fp32-16/1000", said.artifact)
        }
        // What was loaded has its strikes wiped.
        assertEquals(setOf("${key("1000")}.json"), File(own, "crashes").list()!!.toSet())
    }

    @Test
    fun `an orderly end of a load leaves no mark`() {
        val journal = journal()
        var seen = 0
        journal.loading(key("1000")) { seen = File(own, "loading").list()!!.size }
        assertEquals(1, seen)
        assertThrows(IllegalStateException::class.java) { journal.loading(key("1000")) { error("no") } }
        assertEquals(0, File(own, "loading").list()!!.size)
    }

    @Test
    fun `a load of this very process is no dead one`() {
        stage.witness = ExitWitness { _, _ -> true }
        journal().loading(key("1000")) {
            leftOut()
            assertEquals(1, File(own, "loading").list()!!.size)
        }
    }

    @Test
    fun `damaged records count for nothing, and foreign names are let be`() {
        OwnFolder(stage.cache).make()
        val crashes = File(own, "crashes").apply { mkdirs() }
        File(crashes, "${key("1000")}.json").writeText("{")
        val foreign = File(File(own, "loading").apply { mkdirs() }, "somebody's").apply { writeText("x") }
        assertTrue(leftOut().isEmpty())
        assertTrue(foreign.exists())
        assertFalse(File(crashes, "somebody's").exists())
    }
}
