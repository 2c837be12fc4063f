package dev.edgeslim.format

import dev.edgeslim.Goldens
import java.io.File
import java.nio.file.Path
import kotlin.random.Random
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.io.TempDir

/** Bundles from strangers: refused by a rule, and never by any other exception (the tests' heap is 512 MB). */
class HostileBundleTest {
    @TempDir lateinit var folder: Path

    private val bundles = listOf("tiny-f32", "tiny-int8", "tiny-i8", "tiny-layouts", "tiny-inputs")

    private fun golden(name: String): File = Goldens.bundle("good/$name.slim", folder.toFile())

    @Test
    fun `taken apart and put together it is the same`() {
        for (name in bundles) assertArrayEquals(golden(name).readBytes(), RawBundle.read(golden(name)).toBytes())
    }

    /** The outcome of a look as deep as can be: a rule, or none. */
    private fun rule(content: ByteArray): String? {
        val file = folder.resolve("mutant.slim").toFile()
        file.writeBytes(content)
        return try {
            SlimBundle.open(file).use { it.check(Depth.FILES) }
            null
        } catch (error: FormatException) {
            error.rule
        }
    }

    @TestFactory
    fun mutants(): List<DynamicTest> =
        listOf<Pair<String, (RawBundle, Random) -> ByteArray>>(
                "bytes of the file" to { raw, random -> mutated(raw.toBytes(), random) },
                "cut off" to { raw, random -> raw.toBytes().let { it.copyOf(random.nextInt(it.size)) } },
                "the manifest" to ::manifest,
                "numbers of the manifest" to ::numbers,
                "recipes" to ::recipe,
                "stored parts" to ::part,
            )
            .map { (what, mutate) -> DynamicTest.dynamicTest(what) { repeat(what, mutate) } }

    private fun repeat(what: String, mutate: (RawBundle, Random) -> ByteArray) {
        val seen = HashMap<String?, Int>()
        for (seed in 0 until MUTANTS) {
            val random = Random(seed)
            val found = rule(mutate(RawBundle.read(golden(bundles[seed % bundles.size])), random))
            seen[found] = (seen[found] ?: 0) + 1
        }
        val refused = seen.filterKeys { it != null }
        assertTrue(refused.values.sum() > MUTANTS / 2, "$what: $seen")
        assertEquals(emptySet<String?>(), refused.keys - RULES, what)
    }

    private fun mutated(content: ByteArray, random: Random): ByteArray {
        val found = content.copyOf()
        repeat(1 + random.nextInt(3)) {
            val at = random.nextInt(found.size)
            when (random.nextInt(3)) {
                0 -> found[at] = random.nextInt(256).toByte()
                1 -> found[at] = (found[at].toInt() xor (1 shl random.nextInt(8))).toByte()
                else -> found[at] = found[random.nextInt(found.size)]
            }
        }
        return found
    }

    private fun manifest(raw: RawBundle, random: Random): ByteArray {
        raw.manifest = String(mutated(raw.manifest.toByteArray(), random), Charsets.ISO_8859_1)
        return raw.toBytes()
    }

    private fun numbers(raw: RawBundle, random: Random): ByteArray {
        val text = raw.manifest
        val places = Regex("[:\\[,][0-9]+").findAll(text).toList()
        val place = places[random.nextInt(places.size)].range
        val value = NUMBERS[random.nextInt(NUMBERS.size)]
        raw.manifest = text.replaceRange(place.first + 1, place.last + 1, value)
        return raw.toBytes()
    }

    private fun recipe(raw: RawBundle, random: Random): ByteArray {
        val names =
            Regex("\"recipe/[^\"]+\"").findAll(String(raw.toBytes(), Charsets.ISO_8859_1)).map { it.value.trim('"') }
        val name = names.toList().let { it[random.nextInt(it.size)] }
        val bytes = Regex("recipe_bytes\":([0-9]+)").findAll(raw.manifest).map { it.groupValues[1].toLong() }
        val content =
            bytes.firstNotNullOf { size ->
                try {
                    Deflate.inflated(java.nio.ByteBuffer.wrap(raw.content(name)), size, name)
                } catch (_: FormatException) {
                    null
                }
            }
        raw.deflated(name, mutated(content, random), content)
        return raw.toBytes()
    }

    private fun part(raw: RawBundle, random: Random): ByteArray {
        val text = String(raw.toBytes(), Charsets.ISO_8859_1)
        val names =
            Regex("\"((fold|quant|template|recipe)/[^\"]+)\":\\{\"data")
                .findAll(text)
                .map { it.groupValues[1] }
                .toList()
        val name = names[random.nextInt(names.size)]
        raw.stored(name, mutated(raw.content(name), random))
        return raw.toBytes()
    }

    private companion object {
        const val MUTANTS = 600
        val NUMBERS =
            listOf("0", "1", "-1", "2", "7", "255", "65537", "16777217", "4294967297", "9007199254740991", "null")

        /** Every rule that FORMAT.md names, as the goldens do. */
        val RULES =
            dev.edgeslim.Json(Goldens.json("bundles/index.json"))["bad"].list.map { it["rule"].text }.toSet() +
                "too-large"
    }
}
