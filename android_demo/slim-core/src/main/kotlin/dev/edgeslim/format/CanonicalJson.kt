package dev.edgeslim.format

import dev.edgeslim.json.JsonException
import dev.edgeslim.json.JsonParser
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.nio.charset.CodingErrorAction
import java.nio.charset.StandardCharsets

/** The JSON of a bundle's manifest: one text per value, no fractions, bounded (FORMAT.md §2). */
internal object CanonicalJson {
    private const val MAX_VALUES = 131_071
    private const val MAX_DEPTH = 12

    /**
     * The value of a canonical text.
     *
     * Throws [FormatException]: `too-many-values`, `too-deep`, `duplicate-key`, `bad-json`, `not-canonical`.
     */
    fun parse(text: ByteArray): Any? {
        val marks = text.count { it == ','.code.toByte() || it == '['.code.toByte() || it == '{'.code.toByte() }
        if (marks > MAX_VALUES) refuse("too-many-values", "the manifest has about $marks values, at most $MAX_VALUES")
        val decoder =
            StandardCharsets.UTF_8.newDecoder()
                .onMalformedInput(CodingErrorAction.REPORT)
                .onUnmappableCharacter(CodingErrorAction.REPORT)
        val parser =
            try {
                JsonParser(decoder.decode(ByteBuffer.wrap(text)).toString(), MAX_DEPTH, whole = true)
            } catch (_: CharacterCodingException) {
                refuse("bad-json", "the manifest is not UTF-8")
            }
        val value =
            try {
                parser.parse()
            } catch (error: JsonException) {
                val rule =
                    when (error.problem) {
                        JsonException.Problem.SYNTAX -> "bad-json"
                        JsonException.Problem.DUPLICATE_KEY -> "duplicate-key"
                        JsonException.Problem.TOO_DEEP -> "too-deep"
                    }
                refuse(rule, "the manifest: ${error.message}")
            }
        if (!parser.canonical) refuse("not-canonical", "the manifest is JSON, but not in its canonical form")
        return value
    }

    /** Whether [text] is a decimal: `-?(0|[1-9][0-9]{0,8})(\.[0-9]{0,8}[1-9])?`, not `-0`. */
    fun isDecimal(text: String): Boolean {
        val start = if (text.startsWith("-")) 1 else 0
        val point = text.indexOf('.')
        val end = if (point < 0) text.length else point
        if (end - start !in 1..9 || !digits(text, start, end) || (text[start] == '0' && end - start > 1)) return false
        if (point < 0) return text != "-0"
        return text.length - point - 1 in 1..9 && digits(text, point + 1, text.length) && text[text.length - 1] != '0'
    }

    private fun digits(text: String, start: Int, end: Int): Boolean = (start until end).all { text[it] in '0'..'9' }
}
