package dev.edgeslim.bench

import dev.edgeslim.Goldens
import dev.edgeslim.Json
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory

/** Jobs and events travel as all languages write them, byte for byte. */
class JobGoldenTest {
    private fun text(name: String) = Goldens.file("jobs/$name").readText().trimEnd('\n')

    private fun written(name: String): String =
        if (name.startsWith("job-")) Job.fromJson(text(name)).toJson() else Event.fromLine(text(name)).toLine()

    @TestFactory
    fun `read and written again`(): List<DynamicTest> =
        Goldens.file("jobs")
            .list()!!
            .filter { it.endsWith(".json") }
            .sorted()
            .map { name -> DynamicTest.dynamicTest(name) { assertEquals(text(name), written(name)) } }

    @Test
    fun `other texts of the same`() {
        for (case in Goldens.jsonl("jobs/accepted.jsonl").map(::Json)) {
            val same = text(case["same_as"].text)
            if (case["what"].text == "job") assertEquals(Job.fromJson(same), Job.fromJson(case["text"].text))
            else assertEquals(Event.fromLine(same), Event.fromLine(case["text"].text))
        }
    }

    @TestFactory
    fun `what must be refused`(): List<DynamicTest> =
        Goldens.jsonl("jobs/refused.jsonl").map(::Json).mapIndexed { number, case ->
            DynamicTest.dynamicTest("$number ${case["what"].text} ${case["reason"].text}") {
                assertThrows(JobException::class.java) {
                    if (case["what"].text == "job") Job.fromJson(case["text"].text)
                    else Event.fromLine(case["text"].text)
                }
            }
        }
}
