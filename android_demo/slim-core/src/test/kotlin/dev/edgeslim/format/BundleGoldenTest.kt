package dev.edgeslim.format

import dev.edgeslim.Goldens
import dev.edgeslim.Json
import java.io.File
import java.nio.file.Path
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.io.TempDir

/**
 * Every golden bundle: good ones rebuild byte for byte, of bad ones the broken rule is named at every depth that sees
 * it.
 */
class BundleGoldenTest {
    @TempDir lateinit var folder: Path

    private val index = Json(Goldens.json("bundles/index.json"))

    private fun temporary(name: String): File = folder.resolve(name).toFile().also(Output::remove)

    @TestFactory
    fun good(): List<DynamicTest> =
        index["good"].list.map { row -> DynamicTest.dynamicTest(row["path"].text) { rebuilds(row) } }

    private fun rebuilds(row: Json) {
        val file = Goldens.bundle(row["path"].text, folder.toFile())
        assertEquals(row["sha256"].text, Sha256.hex(file.readBytes()))
        SlimBundle.open(file).use { bundle ->
            bundle.check(Depth.PARTS)
            bundle.check(Depth.FILES)
            assertEquals(row["artifacts"].list.map { it["artifact"].text }, bundle.artifacts().map { it.id })
            for (artifact in row["artifacts"].list) {
                val id = artifact["artifact"].text
                val out = temporary("out")
                bundle.rebuild(id, out)
                val found =
                    if (bundle.artifact(id).variant.directory) {
                        out.walkTopDown().filter { it.isFile }.associate { it.relativeTo(out).path to it }
                    } else {
                        mapOf(bundle.artifact(id).artifact.files[0].path to out)
                    }
                val expected = artifact["files"].map.mapValues { it.value.text }
                assertEquals(expected, found.mapValues { Sha256.hex(it.value.readBytes()) }.toSortedMap())
            }
        }
    }

    @TestFactory
    fun bad(): List<DynamicTest> =
        index["bad"].list.map { row -> DynamicTest.dynamicTest(row["path"].text) { refuses(row) } }

    private fun refuses(row: Json) {
        val file = Goldens.bundle(row["path"].text, folder.toFile())
        val refused = row["refused"].list.map { it.text }
        for (depth in listOf("open", "rebuild", "parts", "files")) {
            val out = temporary("out")
            if (depth !in refused) {
                read(file, depth, row["artifact"].text, out)
                continue
            }
            val error = assertThrows(FormatException::class.java) { read(file, depth, row["artifact"].text, out) }
            assertEquals(row["rule"].text, error.rule, "$depth: ${error.message}")
            assertFalse(out.exists())
        }
        assertTrue(refused.isNotEmpty())
    }

    private fun read(file: File, depth: String, artifact: String, out: File) {
        SlimBundle.open(file).use { bundle ->
            when (depth) {
                "rebuild" -> bundle.rebuild(artifact, out)
                "parts" -> bundle.check(Depth.PARTS)
                "files" -> bundle.check(Depth.FILES)
            }
        }
    }
}
