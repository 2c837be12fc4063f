package dev.edgeslim.control

import dev.edgeslim.Goldens
import dev.edgeslim.Json
import dev.edgeslim.json.StrictJson
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory

/** Tables and the ladders that all languages build from them. */
class LadderGoldenTest {
    @TestFactory
    fun cases(): List<DynamicTest> =
        (Goldens.file("ladder").list()!!.filter { it.endsWith(".json") }.sorted() - setOf("worth.json", "select.json"))
            .map { DynamicTest.dynamicTest(it) { builds(Json(Goldens.json("ladder/$it"))) } }

    private fun builds(case: Json) {
        val table = LatencyTable.fromJson(StrictJson.canonical(case["table"].value))
        assertEquals(table, LatencyTable.fromJson(table.toJson()))
        val choice = choice(case["choice"])
        if (case.has("refused")) {
            assertThrows(TableException::class.java) { Ladder.of(table, choice) }
            return
        }
        val ladder = Ladder.of(table, choice)
        val wanted = case["ladder"]
        assertEquals(wanted["rungs"].list.map(::rung), ladder.rungs)
        assertEquals(wanted["metric"].text, ladder.metric)
        assertEquals(wanted["energy_estimated"].value, ladder.energyEstimated)
        assertEquals(wanted["notes"].list.map(::reason), ladder.notes)
        assertEquals(wanted["notes"].list.map { it["sentence"].text }, ladder.notes.map { it.sentence() })
        val dropped = wanted["dropped"].list.map { DroppedArtifact(it["artifact"].text, it["label"].text, reason(it)) }
        assertEquals(dropped, ladder.dropped)
        assertEquals(wanted["dropped"].list.map { it["sentence"].text }, ladder.dropped.map { it.reason.sentence() })
    }

    private fun choice(value: Json): LadderChoice {
        fun text(name: String) = if (value.has(name)) value[name].text else null
        return LadderChoice(
            accuracies =
                if (value.has("accuracies")) value["accuracies"].map.mapValues { (it.value.value as Number).toDouble() }
                else null,
            target = text("target"),
            precision = text("precision"),
            threads = if (value.has("threads")) value["threads"].long else null,
            device = text("device"),
            context = text("context"),
            doubtful = value.has("doubtful") && value["doubtful"].value == true,
        )
    }

    private fun rung(value: Json) =
        Rung(
            value["artifact"].text,
            value["t_us"].long,
            value["energy_uj"].long,
            value["worth"].long,
            value["label"].text,
        )

    private fun reason(value: Json) = Reason(value["code"].text, value["params"].map.mapValues { it.value.value!! })

    @Test
    fun `worths are rounded half up`() {
        for (case in Json(Goldens.json("ladder/worth.json"))["worth"].list) {
            val value = (case["value"].value as Number).toDouble()
            assertEquals(
                case["worth"].long,
                Worth.of(value, case["metric"].text, case["larger_is_better"].value as Boolean),
                "${case.value}",
            )
        }
    }

    @Test
    fun `a policy selects rungs`() {
        val table = LatencyTable.fromJson(StrictJson.canonical(Json(Goldens.json("ladder/four.json"))["table"].value))
        val ladder = Ladder.of(table)
        for (case in Json(Goldens.json("ladder/select.json"))["select"].list) {
            val document =
                case.map.filterKeys { it != "rungs" }.mapValues { it.value.value } + mapOf("policy_version" to 1L)
            val chosen = Policy.fromDocument(document).select(ladder).rungs.map(ladder.rungs::indexOf)
            assertEquals(case["rungs"].list.map { it.int }, chosen, "${case.value}")
        }
    }
}
