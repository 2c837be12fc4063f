package dev.edgeslim.format

import dev.edgeslim.Goldens
import java.io.File
import java.nio.file.Path
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** A process that is killed while it writes leaves a whole file or none. */
class RebuildKillTest {
    @TempDir lateinit var folder: Path

    @Test
    fun `killed at any moment`() {
        val out = folder.resolve("model.pte").toFile()
        val bundle = Goldens.file("bundles/good/tiny-blocks.slim")
        val expected = SlimBundle.open(bundle).use { it.artifact(ARTIFACT).artifact.files[0].sha256 }
        for (turn in 1..TURNS) {
            val child = child(bundle, out)
            child.inputStream.bufferedReader().use { lines ->
                repeat(turn * 7) { checkNotNull(lines.readLine()) { "the child ended" } }
                child.destroyForcibly().waitFor()
            }
            assertEquals(expected, Sha256.hex(out.readBytes()))
        }
        SlimBundle.open(bundle).use { it.rebuild(ARTIFACT, out, overwrite = true) }
        assertEquals(listOf("model.pte"), out.parentFile.list()!!.toList()) // parts of the dead are gone
    }

    private fun child(bundle: File, out: File): Process {
        val java = File(System.getProperty("java.home"), "bin/java").path
        val command = listOf(java, "-Xmx64m", "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path"))
        val main = listOf("dev.edgeslim.format.RebuildKillTest\$Child", bundle.path, out.path)
        return ProcessBuilder(command + main).redirectError(ProcessBuilder.Redirect.INHERIT).start().also {
            assertTrue(it.isAlive)
        }
    }

    /** Rebuilds for ever, and says so before and after each time. */
    object Child {
        @JvmStatic
        fun main(arguments: Array<String>) {
            SlimBundle.open(File(arguments[0])).use { bundle ->
                while (true) {
                    println("begin")
                    bundle.rebuild(ARTIFACT, File(arguments[1]), overwrite = true)
                    println("end")
                }
            }
        }
    }

    private companion object {
        const val ARTIFACT = "executorch-fp32-8/1000"
        const val TURNS = 4
    }
}
