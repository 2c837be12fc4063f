package dev.edgeslim.json

/** What was met and what was expected, with its place in the document (`rows[3].device.cores`). */
internal class StrictJsonException(message: String) : Exception(message)

/** JSON of tables, policies, jobs and events: no key twice, no NaN, no unknown member, exact types. */
internal object StrictJson {
    const val MAX_TEXT_BYTES: Int = 1 shl 28
    private const val MAX_DEPTH = 200

    /** The value of [text]. Throws [StrictJsonException]: not JSON, a key twice, too deep. */
    fun parse(text: String): Any? =
        try {
            if (text.length > MAX_TEXT_BYTES) throw StrictJsonException("the document has ${text.length} characters")
            JsonParser(text, MAX_DEPTH, whole = false).parse()
        } catch (error: JsonException) {
            throw StrictJsonException(error.message!!)
        }

    /** One line with sorted keys. */
    fun canonical(value: Any?): String = JsonWriter(sorted = true).text(value)
}

/**
 * The members of one JSON object, each to be taken once; [finish] refuses what nobody took.
 *
 * @param where the place of the object in the document, empty for the document itself.
 */
internal class Fields(value: Any?, private val where: String = "") {
    private val members: JsonObject
    private val known = ArrayList<String>()

    init {
        if (value !is Map<*, *>) {
            throw StrictJsonException("${where.ifEmpty { "the document" }} is ${kind(value)}, expected an object")
        }
        @Suppress("UNCHECKED_CAST")
        members = value as JsonObject
    }

    fun place(name: String): String = if (where.isEmpty()) name else "$where.$name"

    fun has(name: String): Boolean {
        if (members.containsKey(name)) return true
        known.add(name)
        return false
    }

    private fun take(name: String): Any? {
        known.add(name)
        val value = members[name]
        if (value == null && !members.containsKey(name)) throw StrictJsonException("${place(name)} is missing")
        return value
    }

    fun text(name: String): String = textOf(take(name), place(name))

    fun textOrNull(name: String): String? = take(name)?.let { textOf(it, place(name)) }

    fun whole(name: String): Long = wholeOf(take(name), place(name))

    fun wholeOrNull(name: String): Long? = take(name)?.let { wholeOf(it, place(name)) }

    fun int(name: String): Int = intOf(take(name), place(name))

    fun intOrNull(name: String): Int? = take(name)?.let { intOf(it, place(name)) }

    fun number(name: String): Double = numberOf(take(name), place(name))

    fun numberOrNull(name: String): Double? = take(name)?.let { numberOf(it, place(name)) }

    fun flag(name: String): Boolean = flagOf(take(name), place(name))

    fun flagOrNull(name: String): Boolean? = take(name)?.let { flagOf(it, place(name)) }

    fun free(name: String): JsonObject = objectOf(take(name), place(name))

    fun freeOrNull(name: String): JsonObject? = take(name)?.let { objectOf(it, place(name)) }

    fun texts(name: String): Map<String, String> =
        objectOf(take(name), place(name)).mapValues { (key, value) -> textOf(value, "${place(name)}.$key") }

    fun <T> list(name: String, item: (Any?, String) -> T): List<T> = listOf(take(name), place(name), item)

    fun <T> listOrNull(name: String, item: (Any?, String) -> T): List<T>? =
        take(name)?.let { listOf(it, place(name), item) }

    fun <T> nested(name: String, item: (Any?, String) -> T): T = item(take(name), place(name))

    fun <T> nestedOrNull(name: String, item: (Any?, String) -> T): T? = take(name)?.let { item(it, place(name)) }

    fun <T : Any> choice(name: String, choices: Map<String, T>): T {
        val value = take(name)
        return choices[value]
            ?: throw StrictJsonException(
                "${place(name)} is ${kind(value)}, expected one of ${choices.keys.joinToString()}"
            )
    }

    /** Nothing else may stand in the object. */
    fun finish() {
        if (members.size == known.size && members.keys.containsAll(known)) return
        val unknown = members.keys.firstOrNull { it !in known } ?: return
        throw StrictJsonException("${place(unknown)} is not known; known are ${known.sorted().joinToString()}")
    }

    companion object {
        const val MAX_INT: Long = 1L shl 53
        private const val MAX_NUMBER = 1e300

        fun textOf(value: Any?, where: String): String = value as? String ?: wrong(value, where, "a text")

        fun flagOf(value: Any?, where: String): Boolean = value as? Boolean ?: wrong(value, where, "true or false")

        fun wholeOf(value: Any?, where: String): Long {
            if (value is java.math.BigInteger) {
                throw StrictJsonException("$where is beyond the integers every reader holds exactly")
            }
            val found = value as? Long ?: wrong(value, where, "a whole number")
            if (found > MAX_INT || found < -MAX_INT) {
                throw StrictJsonException("$where is $found, beyond the integers every reader holds exactly")
            }
            return found
        }

        fun intOf(value: Any?, where: String): Int {
            val found = wholeOf(value, where)
            if (found > Int.MAX_VALUE || found < Int.MIN_VALUE) {
                throw StrictJsonException("$where is $found, which is out of range")
            }
            return found.toInt()
        }

        fun numberOf(value: Any?, where: String): Double {
            val found =
                when (value) {
                    is Long -> value.toDouble()
                    is Double -> value
                    is java.math.BigInteger -> value.toDouble()
                    else -> wrong(value, where, "a number")
                }
            if (!(Math.abs(found) <= MAX_NUMBER)) throw StrictJsonException("$where is too large for a number")
            return found
        }

        fun objectOf(value: Any?, where: String): JsonObject {
            if (value !is Map<*, *>) wrong(value, where, "an object")
            @Suppress("UNCHECKED_CAST")
            return value as JsonObject
        }

        fun <T> listOf(value: Any?, where: String, item: (Any?, String) -> T): List<T> {
            if (value !is List<*>) wrong(value, where, "a list")
            val found = ArrayList<T>(value.size)
            for (index in value.indices) found.add(item(value[index], "$where[$index]"))
            return found
        }

        private fun wrong(value: Any?, where: String, expected: String): Nothing =
            throw StrictJsonException("$where is ${kind(value)}, expected $expected")

        private fun kind(value: Any?): String =
            when (value) {
                null -> "null"
                is Map<*, *> -> "an object"
                is List<*> -> "a list"
                is String -> "'${value.take(57)}'"
                else -> value.toString()
            }
    }
}
