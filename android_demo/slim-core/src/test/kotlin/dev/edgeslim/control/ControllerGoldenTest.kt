package dev.edgeslim.control

import dev.edgeslim.Goldens
import dev.edgeslim.Json
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory

/** The decisions that all languages share, step by step. */
class ControllerGoldenTest {
    private val others = setOf("adapters", "last_until", "reasons")

    private fun scenarios() =
        Goldens.file("controller")
            .list()!!
            .filter { it.endsWith(".jsonl") }
            .map { it.removeSuffix(".jsonl") }
            .sorted() - others

    @TestFactory fun scenario(): List<DynamicTest> = scenarios().map { DynamicTest.dynamicTest(it) { repeats(it) } }

    private fun repeats(name: String) {
        val lines = Goldens.jsonl("controller/$name.jsonl")
        val header = Json(lines[0])
        val controller = WidthController(ladder(header), Policy.fromDocument(header["policy"].value))
        val inputs = header["in"].list.map { it.text }
        val outputs = header["out"].list.map { it.text }
        assertTrue(lines.size > 1)
        for ((number, line) in lines.drop(1).withIndex()) {
            val row = Json(line).list.map { it.long }
            val decision = controller.step(reading(inputs.zip(row).toMap()))
            val state = controller.state.values()
            val known = mapOf("rung" to decision.rung, "skip" to decision.skip, "bits" to decision.bits)
            val answer = outputs.map { known[it]?.toLong() ?: state.getValue(it) }
            assertEquals(row.drop(inputs.size), answer, "step $number of $outputs")
        }
        val copy = ControllerState.fromJson(controller.state.toJson())
        assertEquals(controller.state.values(), copy.values())
    }

    private fun ladder(header: Json): Ladder {
        val energies = header["energy_uj"].list.map { it.long }
        return Ladder(
            header["t_us"].list.mapIndexed { index, time ->
                Rung("golden/rung$index", time.long, energies[index], (index + 1).toLong(), "rung $index")
            }
        )
    }

    private fun reading(values: Map<String, Long>): Reading {
        fun int(name: String) = Math.toIntExact(values.getValue(name))
        return Reading(
            nowUs = values.getValue("now_us"),
            deadlineUs = values.getValue("deadline_us"),
            observedUs = values.getValue("observed_us"),
            observedRung = int("observed_rung"),
            status = int("status"),
            headroomMilli = int("headroom_milli"),
            forecastMilli = int("forecast_milli"),
            batteryPermille = int("battery_permille"),
            charging = int("charging") == 1,
            lowPower = int("low_power") == 1,
            powerMw = int("power_mw"),
            inferencesPerKs = int("inferences_per_ks"),
            userCap = int("user_cap"),
            userMin = int("user_min"),
        )
    }

    @Test
    fun adapters() {
        for (case in Goldens.jsonl("controller/adapters.jsonl").map(::Json)) {
            val x = case["x"].list.map { number(it.value) }
            val found =
                when (val function = case["f"].text) {
                    "headroom_milli" -> SignalAdapters.headroomMilli(x[0])
                    "android_level" -> SignalAdapters.androidLevel(x[0].toInt())
                    "ios_level" -> SignalAdapters.iosLevel(x[0].toInt())
                    "battery_permille" -> SignalAdapters.batteryPermille(x[0])
                    "level_below_trip" -> SignalAdapters.levelBelowTrip(x[0], x[1], x[2])
                    "pi_level" -> SignalAdapters.piLevel(x[0].toInt(), x[1])
                    else -> error("no adapter $function")
                }
            assertEquals(case["y"].int, found, "${case.value}")
        }
    }

    private fun number(value: Any?): Double =
        when (value) {
            "nan" -> Double.NaN
            "inf" -> Double.POSITIVE_INFINITY
            "-inf" -> Double.NEGATIVE_INFINITY
            else -> (value as Number).toDouble()
        }

    @Test
    fun `policies are read as everywhere`() {
        val golden = Json(Goldens.json("controller/policies.json"))
        val fields = golden["fields"].map
        assertEquals(PolicyField.entries.map { it.key }.toSet(), fields.keys)
        for (field in PolicyField.entries) {
            val wanted = fields.getValue(field.key)
            val default: Any = if (field.length == 0) field.default[0] else field.default.toList()
            assertEquals(listOf(wanted["low"].long, wanted["high"].long), listOf(field.low, field.high))
            assertEquals(wanted["default"].value, default)
        }
        assertEquals(
            golden["ascending"].list.map { it.text },
            PolicyField.entries.filter { it.ascending }.map { it.key },
        )
        for ((name, preset) in golden["presets"].map) assertEquals(preset.value, Policy.preset(name).fields())
        for (document in golden["documents"].list) {
            val text = document["text"].text
            if (document.has("rule")) {
                val error = assertThrows(PolicyException::class.java, { Policy.fromJson(text) }, text)
                assertEquals(document["rule"].text, error.rule, text)
            } else {
                val policy = Policy.fromJson(text)
                assertEquals(document["policy"].value, policy.fields())
                assertEquals(policy, Policy.fromJson(policy.toJson()))
            }
        }
    }

    @Test
    fun `a battery lasts until its moment`() {
        for (case in Goldens.jsonl("controller/last_until.jsonl").map(::Json)) {
            val budget = PowerBudget(case["capacity_mwh"].long, case["until_us"].long, case["base_mw"].long)
            val found = case["in"].list.map { budget.update(it.list[0].long, it.list[1].int).toLong() }
            assertEquals(case["out"].list.map { it.long }, found, case["about"].text)
            for (question in case["reachable"].list.map { it.list }) {
                val ladder = Ladder(listOf(Rung("a/b", 1, question[0].long, 1, "b")))
                assertEquals(question[2].value, budget.reachable(ladder, question[1].int), case["about"].text)
            }
        }
    }

    @Test
    fun `decisions say why`() {
        val lines = Goldens.jsonl("controller/reasons.jsonl").map(::Json)
        assertEquals(lines[0]["codes"].list.map { it.text }, Decision.CODES)
        for (case in lines.drop(1)) {
            val decision =
                Decision(
                    rung = case["rung"].int,
                    artifact = "a/b",
                    label = case["label"].text,
                    skip = case["skip"].int,
                    bits = case["bits"].int,
                    previous = case["previous"].int,
                    level = case["level"].int,
                    cap = case["cap"].int,
                    capLabel = case["cap_label"].text,
                )
            assertEquals(reason(case["move"]), decision.move)
            assertEquals(case["reasons"].list.map(::reason), decision.reasons)
            assertEquals(case["sentence"].text, decision.sentence())
        }
    }

    private fun reason(value: Json) = Reason(value["code"].text, value["params"].map.mapValues { it.value.value!! })
}
