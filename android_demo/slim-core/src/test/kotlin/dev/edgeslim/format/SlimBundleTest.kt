package dev.edgeslim.format

import dev.edgeslim.Goldens
import dev.edgeslim.OutputException
import dev.edgeslim.UsageException
import dev.edgeslim.WidthException
import dev.edgeslim.control.Width
import java.io.File
import java.nio.channels.FileChannel
import java.nio.file.Path
import java.nio.file.StandardOpenOption
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class SlimBundleTest {
    @TempDir lateinit var folder: Path

    private val file = Goldens.file("bundles/good/tiny-f32.slim")

    private fun place(name: String): File = folder.resolve(name).toFile()

    @Test
    fun `a bundle inside another file is opened where it stands`() {
        val asset = place("app.apk").apply { writeBytes(ByteArray(4096) + file.readBytes() + ByteArray(17)) }
        FileChannel.open(asset.toPath(), StandardOpenOption.READ).use { channel ->
            SlimBundle.open(channel, 4096, file.length()).use { it.check(Depth.FILES) }
            assertTrue(channel.isOpen)
        }
    }

    @Test
    fun `artifacts are named by id or by target and width`() {
        SlimBundle.open(file).use { bundle ->
            assertEquals("executorch-fp32-8/0500", bundle.artifact("executorch", Width(500)).id)
            assertEquals("executorch-fp32-8/1000", bundle.artifact("executorch", Width(1000), "fp32-8").id)
            assertThrows(WidthException::class.java) { bundle.artifact("executorch", Width(700)) }
            assertThrows(UsageException::class.java) { bundle.artifact("litert", Width(500)) }
            assertThrows(UsageException::class.java) { bundle.artifact("executorch", Width(500), "int8-8") }
            assertThrows(UsageException::class.java) { bundle.artifact("executorch-fp32-8/0700") }
        }
    }

    @Test
    fun `an artifact beyond the reader's limit is refused, the others are not`() {
        SlimBundle.open(file).use { bundle ->
            bundle.maxArtifactBytes = 2000
            val error =
                assertThrows(FormatException::class.java) {
                    bundle.rebuild("executorch-fp32-8/1000", place("model.pte"))
                }
            assertEquals("too-large", error.rule)
            bundle.rebuild("executorch-fp32-8/0500", place("model.pte"))
        }
    }

    @Test
    fun `nothing of the user's is overwritten`() {
        SlimBundle.open(file).use { bundle ->
            val out = place("model.pte").apply { writeText("mine") }
            assertThrows(OutputException::class.java) { bundle.rebuild("executorch-fp32-8/0500", out) }
            assertEquals("mine", out.readText())
            val thesis = place("thesis").apply { mkdirs() }
            File(thesis, "words.txt").writeText("mine")
            for (id in listOf("executorch-fp32-8/0500", "coreml-fp16-8/0500")) {
                assertThrows(OutputException::class.java) { bundle.rebuild(id, thesis, overwrite = true) }
            }
            assertEquals("mine", File(thesis, "words.txt").readText())
            assertThrows(OutputException::class.java) { bundle.rebuild("executorch-fp32-8/0500", place("no/folder")) }
            assertEquals(setOf("model.pte", "thesis"), folder.toFile().list()!!.toSet())
        }
    }

    @Test
    fun `a directory of ours is replaced, and put back where a writer died in between`() {
        SlimBundle.open(file).use { bundle ->
            val out = place("net.mlpackage")
            bundle.rebuild("coreml-fp16-8/0500", out)
            bundle.rebuild("coreml-fp16-8/1000", out, overwrite = true)
            val weights = File(out, "Data/weights/weight.bin")
            val wide = bundle.artifact("coreml-fp16-8/1000").artifact.files.associate { it.path to it.sha256 }
            assertEquals(wide["Data/weights/weight.bin"], Sha256.hex(weights.readBytes()))
            assertTrue(out.renameTo(place(".net.mlpackage.abc.old")))
            assertThrows(OutputException::class.java) { bundle.rebuild("coreml-fp16-8/0500", out) } // it is there again
            assertEquals(wide["Data/weights/weight.bin"], Sha256.hex(weights.readBytes()))
            assertEquals(listOf("net.mlpackage"), folder.toFile().list()!!.toList())
        }
    }

    @Test
    fun `what is no file is no bundle`() {
        assertThrows(UsageException::class.java) { SlimBundle.open(folder.toFile()) }
        assertThrows(UsageException::class.java) { SlimBundle.open(place("nowhere.slim")) }
    }
}
