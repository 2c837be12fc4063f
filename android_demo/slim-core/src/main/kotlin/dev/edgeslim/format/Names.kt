package dev.edgeslim.format

/**
 * The forms of names, matched by hand: Android's regular expressions are another engine than the desktop's, and slow to
 * start.
 */
internal object Names {
    private fun letterOrDigit(c: Char) = c in 'a'..'z' || c in 'A'..'Z' || c in '0'..'9'

    private fun lowerOrDigit(c: Char) = c in 'a'..'z' || c in '0'..'9'

    private inline fun form(
        text: String,
        longest: Int,
        first: (Char) -> Boolean,
        inner: (Char) -> Boolean,
        last: (Char) -> Boolean,
    ): Boolean {
        if (text.length !in 1..longest || !first(text[0])) return false
        for (index in 1 until text.length - 1) if (!inner(text[index])) return false
        return text.length == 1 || last(text[text.length - 1])
    }

    /** Of parts and masters: `[A-Za-z0-9_]([A-Za-z0-9_.-]{0,150}[A-Za-z0-9_])?`. */
    fun isName(text: String): Boolean =
        form(
            text,
            152,
            { letterOrDigit(it) || it == '_' },
            { letterOrDigit(it) || it == '_' || it == '.' || it == '-' },
            { letterOrDigit(it) || it == '_' },
        )

    /** Of inputs: `[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9])?`. */
    fun isInputId(text: String): Boolean =
        form(text, 32, ::lowerOrDigit, { lowerOrDigit(it) || it == '_' || it == '-' }, ::lowerOrDigit)

    /** Of variants: `[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?`. */
    fun isVariantId(text: String): Boolean =
        form(text, 64, ::lowerOrDigit, { lowerOrDigit(it) || it == '_' || it == '-' }, ::lowerOrDigit)

    /** Of nets without widths: `[a-z]([a-z0-9_.-]{0,62}[a-z0-9])?`. */
    fun isLabel(text: String): Boolean =
        form(text, 64, { it in 'a'..'z' }, { lowerOrDigit(it) || it == '_' || it == '.' || it == '-' }, ::lowerOrDigit)

    /** `.` and 1 to 16 of `a–z 0–9`. */
    fun isSuffix(text: String): Boolean =
        text.length in 2..17 && text[0] == '.' && (1 until text.length).all { lowerOrDigit(text[it]) }

    /** [length] lower-case hexadecimal digits. */
    fun isHex(text: String, length: Int): Boolean =
        text.length == length && text.all { it in '0'..'9' || it in 'a'..'f' }

    /** One name of a path, and no device name of Windows. */
    fun isPathName(text: String): Boolean {
        val plain =
            form(
                text,
                100,
                { letterOrDigit(it) || it == '_' },
                { letterOrDigit(it) || it == '_' || it == '.' || it == '-' },
                { letterOrDigit(it) || it == '_' || it == '-' },
            )
        return plain && !isReserved(lower(text.substringBefore('.')))
    }

    private fun isReserved(stem: String): Boolean =
        when (stem.length) {
            3 -> stem == "con" || stem == "prn" || stem == "aux" || stem == "nul"
            4 -> (stem.startsWith("com") || stem.startsWith("lpt")) && stem[3] in '0'..'9'
            else -> false
        }

    /** Of tensors: `manifest`, or a word, `/` and 1 to 200 characters of `A–Z a–z 0–9 _ . - /`. */
    fun isTensor(text: String): Boolean {
        if (text == "manifest") return true
        val slash = text.indexOf('/')
        if (slash < 0 || text.substring(0, slash) !in TENSOR_WORDS) return false
        val first = slash + 1
        if (text.length - first !in 1..200 || !(letterOrDigit(text[first]) || text[first] == '_')) return false
        return (first until text.length).all {
            letterOrDigit(text[it]) || text[it] == '_' || text[it] == '.' || text[it] == '-' || text[it] == '/'
        }
    }

    private val TENSOR_WORDS = setOf("master", "step", "fold", "quant", "template", "recipe")

    /** Lower case of A–Z only, whatever the user's language. */
    fun lower(text: String): String {
        val characters = CharArray(text.length) { if (text[it] in 'A'..'Z') text[it] + 32 else text[it] }
        return String(characters)
    }
}
