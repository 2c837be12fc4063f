package dev.edgeslim.format

import dev.edgeslim.SlimException

/**
 * A bundle breaks a rule of FORMAT.md.
 *
 * @property rule the rule's name, the same in every language.
 */
public class FormatException(public val rule: String, message: String, hint: String? = null) :
    SlimException(message, hint) {
    override val brokenRule: String
        get() = rule
}

internal fun refuse(rule: String, message: String): Nothing = throw FormatException(rule, message)
