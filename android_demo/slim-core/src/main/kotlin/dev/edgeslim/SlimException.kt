package dev.edgeslim

import dev.edgeslim.json.StrictJson

/**
 * Base of everything that edgeslim refuses on purpose.
 *
 * ```
 * SlimException
 * ├── UsageException     no such artifact, several fit, a bad argument
 * │   └── WidthException a width that cannot be read, or is not in the bundle
 * ├── FormatException    a bundle breaks a rule of FORMAT.md; `rule` names it
 * ├── ImageException     an image or input breaks a rule of PIXELS.md; `rule` names it
 * ├── PolicyException    a policy breaks a rule; `rule` names it
 * ├── TableException     an unusable latency table
 * ├── JobException       an unusable benchmark job or event
 * ├── HostException      not possible on this device: nothing of the bundle can be loaded
 * └── OutputException    the result cannot be written
 * ```
 *
 * @property hint what to do next, where there is something to say.
 */
public open class SlimException(message: String, public val hint: String? = null, cause: Throwable? = null) :
    RuntimeException(message, cause) {
    /** What was met and what was expected. */
    override val message: String
        get() = super.message!!

    /** Stable, for programs: the kind of error, or the broken rule. */
    public open val name: String
        get() = javaClass.simpleName.removeSuffix("Exception").lowercase(java.util.Locale.ROOT)

    /** The rule of FORMAT.md, PIXELS.md or of policies that was broken; null where it is none of these. */
    public open val brokenRule: String?
        get() = null

    /** `{"error": {"name", "message", "hint", "rule"}}`, as the command lines of all languages print it. */
    public fun toJson(): String {
        val found = LinkedHashMap<String, Any?>()
        found["name"] = brokenRule ?: name
        found["message"] = message
        found["hint"] = hint
        if (brokenRule != null) found["rule"] = brokenRule
        return StrictJson.canonical(mapOf("error" to found))
    }
}

/** A bad argument: no such artifact, several that fit, what cannot be read. */
public open class UsageException(message: String, hint: String? = null, cause: Throwable? = null) :
    SlimException(message, hint, cause)

/** A width that cannot be read, is out of range or is not in the bundle. */
public class WidthException(message: String, hint: String? = null) : UsageException(message, hint)

/** A result that cannot be written: it exists, the folder is missing or read-only, the disk is full. */
public class OutputException(message: String, hint: String? = null, cause: Throwable? = null) :
    SlimException(message, hint, cause)

/** Not possible on this device: no artifact of the bundle can be loaded, or all have failed. */
public class HostException(message: String, hint: String? = null) : SlimException(message, hint)
