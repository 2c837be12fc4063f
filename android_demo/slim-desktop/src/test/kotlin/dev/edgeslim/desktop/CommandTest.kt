package dev.edgeslim.desktop

import dev.edgeslim.control.Ladder
import dev.edgeslim.control.Policy
import dev.edgeslim.control.Reading
import dev.edgeslim.control.Rung
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.PrintStream
import java.nio.file.Path
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class CommandTest {
    @TempDir lateinit var folder: Path

    private val golden = File(System.getProperty("edgeslim.golden"), "bundles")
    private val good = File(golden, "good/tiny-f32.slim").path
    private val bad = File(golden, "bad/bad-range.slim").path

    private fun slim(vararg arguments: String): Pair<Int, List<String>> {
        val bytes = ByteArrayOutputStream()
        val code = PrintStream(bytes, true, "UTF-8").use { Command(it).run(arguments.toList()) }
        return Pair(code, bytes.toString("UTF-8").trimEnd().lines())
    }

    private fun file(name: String, text: String): String = folder.resolve(name).toFile().apply { writeText(text) }.path

    @Test
    fun `a bundle is checked, and of several each says its own`() {
        assertEquals(Pair(0, listOf("{\"depth\":\"parts\",\"ok\":true}")), slim("check", good))
        val (code, lines) = slim("check", bad, good, "--depth", "files")
        assertEquals(2, code)
        assertTrue(lines[0].startsWith("{\"error\":{") && "\"rule\":\"bad-range\"" in lines[0], lines[0])
        assertEquals("{\"depth\":\"files\",\"ok\":true}", lines[1])
    }

    @Test
    fun `an artifact is rebuilt`() {
        val out = folder.resolve("model.pte").toString()
        val (code, lines) = slim("rebuild", good, "--artifact", "executorch-fp32-8/0500", out)
        assertEquals(0, code)
        assertTrue("\"artifact\":\"executorch-fp32-8/0500\"" in lines.single(), lines.single())
        assertTrue(File(out).length() > 0)
        val (again, refusal) = slim("rebuild", good, "--artifact", "executorch-fp32-8/0500", out)
        assertEquals(2, again)
        assertTrue("\"name\":\"output\"" in refusal.single(), refusal.single())
        assertEquals(0, slim("rebuild", good, "--artifact", "executorch-fp32-8/0500", out, "--overwrite").first)
    }

    @Test
    fun `decisions follow readings`() {
        val ladder = Ladder(listOf(Rung("a/0500", 6000, 1, 1, "0.5x"), Rung("a/1000", 20_000, 2, 2, "1.0x")))
        val readings = listOf(Reading(0, 33_000), Reading(33_000, 10_000, observedUs = 20_000, observedRung = 1))
        val (code, lines) =
            slim(
                "decide",
                file("ladder.json", ladder.toJson()),
                file("policy.json", Policy.BALANCED.toJson()),
                file("readings.jsonl", readings.joinToString("\n") { it.toJson() }),
                "--state",
            )
        assertEquals(0, code)
        assertTrue("\"sentence\":\"starts at 1.0x\"" in lines[0], lines[0])
        assertTrue("\"sentence\":\"narrowed to 0.5x: the wider net would miss the deadline\"" in lines[1], lines[1])
        assertTrue("\"state\":{" in lines[1], lines[1])
    }

    @Test
    fun `mistakes are named`() {
        for (arguments in listOf(listOf(), listOf("bake"), listOf("check"), listOf("ladder", "nowhere.json"))) {
            val (code, lines) = slim(*arguments.toTypedArray())
            assertEquals(2, code)
            assertTrue(lines.single().startsWith("{\"error\":{"), lines.single())
        }
    }
}
