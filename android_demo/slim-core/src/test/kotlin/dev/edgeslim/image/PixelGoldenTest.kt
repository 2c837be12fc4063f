package dev.edgeslim.image

import dev.edgeslim.Goldens
import dev.edgeslim.Json
import dev.edgeslim.format.Sha256
import java.nio.ByteBuffer
import java.util.Base64
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory

/** Camera buffers and images become the same bytes as in all languages. */
class PixelGoldenTest {
    @TestFactory
    fun pixels(): List<DynamicTest> =
        listOf("cameras", "images", "refusals").flatMap { file ->
            Goldens.jsonl("pixels/$file.jsonl").map(::Json).map { case ->
                DynamicTest.dynamicTest("$file: ${case["name"].text}") { check(case) }
            }
        }

    private fun check(case: Json) {
        val result = case["result"]
        if (result.has("refused")) {
            val error = assertThrows(ImageException::class.java) { input(case) }
            assertEquals(result["refused"].text, error.rule, error.message)
            return
        }
        val found = input(case)
        assertEquals(result["sha256"].text, Sha256.hex(found))
    }

    private fun input(case: Json): ByteArray {
        val contract = contract(case["contract"])
        val image = if (case.has("camera")) camera(case["camera"]).upright() else image(case["image"])
        val buffer = Pixels(contract).input(image, case["dtype"].text, case["layout"].text)
        // Goldens are little-endian, a runtime wants the machine's own order.
        check(java.nio.ByteOrder.nativeOrder() == java.nio.ByteOrder.LITTLE_ENDIAN)
        return ByteArray(buffer.remaining()).also { buffer.get(it) }
    }

    /** Words that no enum has are refused where they are read; here that is the test. */
    private fun <T : Enum<T>> word(all: List<T>, text: (T) -> String, wanted: Json, rule: String): T =
        all.firstOrNull { text(it) == wanted.text } ?: throw ImageException(rule, "no ${wanted.text}")

    private fun contract(value: Json) =
        ImageContract(
            channels = value["channels"].int,
            height = value["height"].int,
            width = value["width"].int,
            order = word(ChannelOrder.entries, { it.text }, value["order"], "bad-contract"),
            mean = value["mean"].list.map { it.text },
            std = value["std"].list.map { it.text },
            resize = word(Resize.entries, { it.text }, value["resize"], "bad-contract"),
            crop = value["crop"].text,
            interpolation = word(Interpolation.entries, { it.text }, value["interpolation"], "bad-contract"),
            antialias = value["antialias"].value as Boolean,
            range = word(PixelRange.entries, { it.text }, value["range"], "bad-contract"),
            pad = value["pad"].int,
        )

    private fun image(value: Json) =
        PixelImage(value["width"].int, value["height"].int, value["channels"].int, bytes(value["data"]))

    private fun bytes(value: Json): ByteArray = Base64.getDecoder().decode(value.text)

    private fun camera(value: Json) =
        CameraBuffer(
            format = word(CameraFormat.entries, { it.text }, value["format"], "bad-buffer"),
            width = value["width"].int,
            height = value["height"].int,
            planes =
                value["planes"].list.map {
                    Plane(ByteBuffer.wrap(bytes(it["data"])), it["row_stride"].long, it["pixel_stride"].long)
                },
            matrix = word(ColourMatrix.entries, { it.text }, value["matrix"], "bad-buffer"),
            range = word(PixelRange.entries, { it.text }, value["range"], "bad-buffer"),
            rotation = value["rotation"].int,
            mirror = value["mirror"].value as Boolean,
        )
}
