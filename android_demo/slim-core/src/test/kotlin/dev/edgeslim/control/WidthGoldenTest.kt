package dev.edgeslim.control

import dev.edgeslim.Goldens
import dev.edgeslim.Json
import dev.edgeslim.WidthException
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test

class WidthGoldenTest {
    private val golden = Json(Goldens.json("widths.json"))

    @Test
    fun `channels are rounded as everywhere`() {
        for (row in golden["channels"].list.map { it.list }) {
            assertEquals(row[3].long, Width(row[0].int).channels(row[1].long, row[2].long), "${row.map { it.value }}")
        }
        for (row in golden["floors"].list.map { it.list }) {
            assertEquals(row[2].long, Width(row[0].int).channelsFloor(row[1].long), "${row.map { it.value }}")
        }
    }

    @Test
    fun `texts are read and written`() {
        for (row in golden["parse"].list) expect(row, { it["permille"].int }) { Width.parse(row["text"].text).permille }
        for (row in golden["texts"].list.map { it.list }) assertEquals(row[1].text, Width(row[0].int).toString())
        for (row in golden["ids"].list.map { it.list }) assertEquals(row[1].text, Width.netId(row[0].int))
        for (row in golden["labels"].list) {
            val label = Labels.of(row["net"].text, row["precision"].value as String?, row["input"].value as String?)
            assertEquals(row["label"].text, label)
        }
    }

    @Test
    fun `lists of widths are read`() {
        for (row in golden["widths"].list) {
            val trained = row["trained"].value?.let { row["trained"].list.map { Width(it.int) } }
            expect(row, { it["permilles"].list.map { permille -> permille.int } }) {
                Width.parseList(row["text"].text, trained?.let { Pair(it[0], it[1]) }).map { it.permille }
            }
        }
    }

    private fun <T> expect(row: Json, wanted: (Json) -> T, found: () -> T) {
        if (row.has("refused")) assertThrows(WidthException::class.java, { found() }, row["text"].text)
        else assertEquals(wanted(row), found(), row["text"].text)
    }
}
