package dev.edgeslim.json

/**
 * A JSON object as plain values: [String], [Long], [Double], [Boolean], [List], [Map] or null; of a whole number beyond
 * 64 bits [java.math.BigInteger]. Iterates in the order of the text.
 */
public typealias JsonObject = Map<String, Any?>

/** Why a text is no JSON of the wanted kind. */
internal class JsonException(val problem: Problem, message: String) : Exception(message) {
    internal enum class Problem {
        SYNTAX,
        DUPLICATE_KEY,
        TOO_DEEP,
    }
}

/**
 * Reads one JSON text (RFC 8259): no key twice, no NaN. The two users differ in what numbers and keys they take.
 *
 * Whether the text is in canonical form is found on the way ([canonical]): no white space, keys ascending, no `-0`,
 * only those characters escaped that must be.
 *
 * @param maxDepth levels of objects and arrays, the outermost is the first.
 * @param whole only whole numbers between ±(2^53 − 1), keys of 1 to 200 printable ASCII characters, no lone surrogates.
 */
internal class JsonParser(private val text: String, private val maxDepth: Int, private val whole: Boolean) {
    private var at = 0
    private val scratch = StringBuilder()

    var canonical: Boolean = true
        private set

    fun parse(): Any? {
        space()
        val value = value(1)
        space()
        if (at != text.length) fail("something after the end")
        return value
    }

    private fun fail(what: String): Nothing =
        throw JsonException(JsonException.Problem.SYNTAX, "not JSON: $what at character $at")

    private fun space() {
        while (at < text.length) {
            val next = text[at]
            if (next != ' ' && next != '\n' && next != '\t' && next != '\r') return
            canonical = false
            at++
        }
    }

    private fun value(depth: Int): Any? {
        if (at >= text.length) fail("an end")
        return when (val first = text[at]) {
            '{' -> members(depth)
            '[' -> items(depth)
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> if (first == '-' || first in '0'..'9') number() else fail("a character that begins no value")
        }
    }

    private fun word(word: String, value: Any?): Any? {
        if (!text.startsWith(word, at)) fail("an unknown word")
        at += word.length
        return value
    }

    private fun enter(depth: Int) {
        if (depth > maxDepth) throw JsonException(JsonException.Problem.TOO_DEEP, "more than $maxDepth levels deep")
        at++
        space()
    }

    private fun items(depth: Int): List<Any?> {
        enter(depth)
        if (taken(']')) return emptyList()
        val items = ArrayList<Any?>()
        while (true) {
            items.add(value(depth + 1))
            space()
            if (taken(']')) return items
            if (!taken(',')) fail("neither , nor ]")
            space()
        }
    }

    private fun members(depth: Int): JsonObject {
        enter(depth)
        if (taken('}')) return emptyMap()
        val members = LinkedHashMap<String, Any?>()
        var last: String? = null
        while (true) {
            if (at >= text.length || text[at] != '"') fail("no key")
            val key = string()
            if (whole && !isKey(key)) fail("a key that is not 1 to 200 printable ASCII characters")
            if (last != null && last >= key) canonical = false
            space()
            if (!taken(':')) fail("no : after a key")
            space()
            val value = value(depth + 1)
            if (members.containsKey(key)) {
                throw JsonException(
                    JsonException.Problem.DUPLICATE_KEY,
                    "the key '${key.take(80)}' stands twice in one object",
                )
            }
            members[key] = value
            last = key
            space()
            if (taken('}')) return members
            if (!taken(',')) fail("neither , nor }")
            space()
        }
    }

    private fun isKey(key: String): Boolean = key.length in 1..200 && key.all { it in '!'..'~' }

    private fun taken(character: Char): Boolean {
        if (at >= text.length || text[at] != character) return false
        at++
        return true
    }

    private fun string(): String {
        at++
        val start = at
        while (at < text.length) {
            val next = text[at]
            if (next == '"') return text.substring(start, at++)
            if (next == '\\') break
            if (next < ' ') fail("a control character in a text")
            at++
        }
        scratch.setLength(0)
        scratch.append(text, start, at)
        while (at < text.length) {
            val next = text[at++]
            when {
                next == '"' -> return checkedSurrogates(scratch.toString())
                next == '\\' -> escape()
                next < ' ' -> fail("a control character in a text")
                else -> scratch.append(next)
            }
        }
        fail("a text without an end")
    }

    private fun escape() {
        if (at >= text.length) fail("a text without an end")
        when (text[at++]) {
            '"' -> scratch.append('"')
            '\\' -> scratch.append('\\')
            '/' -> {
                canonical = false
                scratch.append('/')
            }
            'b' -> scratch.append('\b')
            't' -> scratch.append('\t')
            'n' -> scratch.append('\n')
            'f' -> scratch.append('\u000c')
            'r' -> scratch.append('\r')
            'u' -> unicode()
            else -> fail("an unknown escape")
        }
    }

    private fun unicode() {
        if (at + 4 > text.length) fail("an escape without an end")
        var code = 0
        for (index in at until at + 4) {
            val digit = text[index]
            val value =
                when (digit) {
                    in '0'..'9' -> digit - '0'
                    in 'a'..'f' -> digit - 'a' + 10
                    in 'A'..'F' -> digit - 'A' + 10
                    else -> fail("a bad escape")
                }
            if (digit in 'A'..'F') canonical = false
            code = code * 16 + value
        }
        at += 4
        val named = code == 8 || code == 9 || code == 10 || code == 12 || code == 13
        if (code >= 0x20 || named) canonical = false
        scratch.append(code.toChar())
    }

    /** Lone surrogates cannot be written as UTF-8; a text that was decoded from it has them only through escapes. */
    private fun checkedSurrogates(found: String): String {
        if (!whole) return found
        var index = 0
        while (index < found.length) {
            val character = found[index++]
            if (character.isLowSurrogate()) fail("a lone surrogate")
            if (character.isHighSurrogate()) {
                if (index >= found.length || !found[index].isLowSurrogate()) fail("a lone surrogate")
                index++
            }
        }
        return found
    }

    private fun number(): Any {
        val start = at
        if (text[at] == '-') at++
        if (at >= text.length || text[at] !in '0'..'9') fail("a number without digits")
        if (text[at] == '0') at++ else digits()
        var fraction = false
        if (at < text.length && text[at] == '.') {
            fraction = true
            at++
            digits()
        }
        if (at < text.length && (text[at] == 'e' || text[at] == 'E')) {
            fraction = true
            at++
            if (at < text.length && (text[at] == '+' || text[at] == '-')) at++
            digits()
        }
        if (fraction) {
            if (whole) fail("a number with a fraction or an exponent")
            return text.substring(start, at).toDouble()
        }
        if (at - start > 18) return large(text.substring(start, at))
        var value = 0L
        val negative = text[start] == '-'
        for (index in (if (negative) start + 1 else start) until at) value = value * 10 + (text[index] - '0')
        if (negative && value == 0L) canonical = false
        if (whole && value > MAX_WHOLE) fail("a number beyond ±(2^53 - 1)")
        return if (negative) -value else value
    }

    private fun large(digits: String): Any {
        if (whole) fail("a number beyond ±(2^53 - 1)")
        if (digits.length > MAX_DIGITS) fail("a number of ${digits.length} digits")
        return digits.toLongOrNull() ?: java.math.BigInteger(digits)
    }

    private fun digits() {
        if (at >= text.length || text[at] !in '0'..'9') fail("a number without digits")
        while (at < text.length && text[at] in '0'..'9') at++
    }

    companion object {
        const val MAX_WHOLE: Long = (1L shl 53) - 1
        private const val MAX_DIGITS = 4300
    }
}

/** Writes JSON in one line: no spaces, only necessary escapes; keys sorted, or as they come. */
internal class JsonWriter(private val sorted: Boolean) {
    private val out = StringBuilder()

    fun text(value: Any?): String {
        out.setLength(0)
        write(value)
        return out.toString()
    }

    private fun write(value: Any?) {
        when (value) {
            null -> out.append("null")
            is Boolean -> out.append(value)
            is Int -> out.append(value)
            is Long -> out.append(value)
            is java.math.BigInteger -> out.append(value)
            is Double -> out.append(number(value))
            is String -> quoted(value)
            is Map<*, *> -> members(value)
            is Iterable<*> -> items(value)
            else -> throw IllegalArgumentException("${value.javaClass.name} has no JSON")
        }
    }

    /** As Python writes it: `300.0`, `0.0001`, `1e-05`, `1e+16`. */
    private fun number(value: Double): String {
        require(!value.isNaN() && !value.isInfinite()) { "$value has no JSON" }
        if (value == 0.0) return if (1 / value < 0) "-0.0" else "0.0"
        val exact = java.math.BigDecimal(value.toString()).stripTrailingZeros()
        val digits = exact.unscaledValue().abs().toString()
        val exponent = digits.length - exact.scale() - 1 // of the first digit
        val sign = if (value < 0) "-" else ""
        if (exponent !in -4..15) {
            val fraction = if (digits.length > 1) "." + digits.substring(1) else ""
            val power = Math.abs(exponent).toString().padStart(2, '0')
            return "$sign${digits[0]}${fraction}e${if (exponent < 0) '-' else '+'}$power"
        }
        if (exponent < 0) return "${sign}0." + "0".repeat(-exponent - 1) + digits
        val padded = digits.padEnd(exponent + 2, '0')
        return sign + padded.substring(0, exponent + 1) + "." + padded.substring(exponent + 1)
    }

    private fun items(values: Iterable<*>) {
        out.append('[')
        var first = true
        for (value in values) {
            if (!first) out.append(',')
            first = false
            write(value)
        }
        out.append(']')
    }

    private fun members(value: Map<*, *>) {
        out.append('{')
        val keys = value.keys.map { it as String }
        var first = true
        for (key in if (sorted) keys.sorted() else keys) {
            if (!first) out.append(',')
            first = false
            quoted(key)
            out.append(':')
            write(value[key])
        }
        out.append('}')
    }

    private fun quoted(text: String) {
        out.append('"')
        for (character in text) {
            when {
                character == '"' -> out.append("\\\"")
                character == '\\' -> out.append("\\\\")
                character >= ' ' -> out.append(character)
                character == '\b' -> out.append("\\b")
                character == '\t' -> out.append("\\t")
                character == '\n' -> out.append("\\n")
                character == '\u000c' -> out.append("\\f")
                character == '\r' -> out.append("\\r")
                else -> out.append("\\u00").append(HEX[character.code shr 4]).append(HEX[character.code and 15])
            }
        }
        out.append('"')
    }

    private companion object {
        const val HEX = "0123456789abcdef"
    }
}
