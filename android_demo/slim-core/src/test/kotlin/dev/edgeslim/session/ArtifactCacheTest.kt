package dev.edgeslim.session

import dev.edgeslim.OutputException
import java.io.File
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.attribute.PosixFilePermissions
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** The promises of "The cache" in docs/session-states.md. */
class ArtifactCacheTest {
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

    private fun cache(maxBytes: Long = 1L shl 30) =
        ArtifactCache(OwnFolder(stage.cache), maxBytes, stage.clock, freeBytes = { stage.freeBytes })

    private fun plan(net: String) = stage.deployment.plans.getValue("executorch-fp32-16/$net")

    private fun ArtifactCache.ensure(net: String): CachedArtifact =
        ensure(plan(net)) { stage.deployment.build("executorch-fp32-16/$net", it) }

    @Test
    fun `it is built once, verified, and not writable`() {
        val cache = cache()
        var builds = 0
        repeat(2) {
            cache
                .ensure(plan("0500")) {
                    builds++
                    stage.deployment.build("executorch-fp32-16/0500", it)
                }
                .close()
        }
        assertEquals(1, builds)
        assertEquals(plan("0500").sizeBytes, stage.artifact("0500").length())
        assertEquals(
            "r--r--r--",
            PosixFilePermissions.toString(Files.getPosixFilePermissions(stage.artifact("0500").toPath())),
        )
        assertTrue(File(own, "CACHEDIR.TAG").isFile)
    }

    @Test
    fun `what was used longest ago makes room`() {
        val cache = cache(maxBytes = plan("0500").sizeBytes + plan("wide-skip").sizeBytes + 10)
        cache.ensure("0500").close()
        stage.clock.us += 10_000_000
        val kept = cache.ensure("wide-skip")
        stage.clock.us += 10_000_000
        cache.ensure("0500").close()
        cache.ensure("1000").close() // too large for both: the one in use stays
        assertFalse(stage.artifact("0500").exists())
        assertTrue(stage.artifact("wide-skip").exists())
        kept.close()
    }

    @Test
    fun `leftovers of killed processes go, and nothing else`() {
        val cache = cache()
        cache.ensure("0500").close()
        val artifacts = File(own, "artifacts")
        val leftover = File(artifacts, ".${plan("1000").key}.0123abcd.part").apply { mkdirs() }
        File(leftover, "model.pte").writeText("half")
        val foreign = File(artifacts, "holiday.jpg").apply { writeText("a photograph") }
        cache.ensure("wide-skip").close()
        assertFalse(leftover.exists())
        assertTrue(foreign.exists())
    }

    @Test
    fun `somebody else's folder is not touched`() {
        val theirs = own.apply { mkdirs() }
        File(theirs, "thesis.txt").writeText("words")
        assertThrows(OutputException::class.java) { cache().ensure("0500") }
        assertEquals(listOf("thesis.txt"), theirs.list()!!.toList())
    }

    @Test
    fun `a folder that others can write is refused`() {
        OwnFolder(stage.cache).make()
        Files.setPosixFilePermissions(own.toPath(), PosixFilePermissions.fromString("rwxrwxrwx"))
        assertThrows(OutputException::class.java) { cache().ensure("0500") }
    }

    @Test
    fun `a link in the place of the folder is refused`() {
        val elsewhere = folder.resolve("elsewhere").toFile().apply { mkdirs() }
        stage.cache.mkdirs()
        Files.createSymbolicLink(own.toPath(), elsewhere.toPath())
        assertThrows(OutputException::class.java) { cache().ensure("0500") }
        assertEquals(0, elsewhere.list()!!.size)
    }

    @Test
    fun `no half file on a full disk`() {
        stage.freeBytes = plan("1000").sizeBytes - 1
        val cache = cache()
        cache.ensure("0500").close()
        assertThrows(OutputException::class.java) { cache.ensure("1000") }
        assertEquals(emptyList<String>(), File(own, "artifacts").list()!!.filter { it.startsWith(".") })
    }

    @Test
    fun `the folder may vanish at any moment`() {
        val cache = cache()
        val cached = cache.ensure("0500")
        dev.edgeslim.format.Output.remove(own)
        assertTrue(cached.intact()) // what a runtime has open is as it was
        assertFalse(cached.inPlace())
        cached.close()
        cache.ensure("0500").close()
        assertTrue(stage.artifact("0500").isFile)
    }
}
