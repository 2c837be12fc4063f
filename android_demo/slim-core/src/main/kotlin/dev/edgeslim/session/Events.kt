package dev.edgeslim.session

import java.util.ArrayDeque

/** What happened in a session beside frames (docs/session-states.md, "Events"); [text] is its name everywhere. */
public enum class SessionEventKind(public val text: String) {
    /** A table measured here before is used, or one is being measured. */
    TABLE("table"),

    /** An artifact is ready; the message says how long rebuild and load took. */
    LOADED("loaded"),

    /** A cached file was damaged and has been rebuilt. */
    REPAIRED("repaired"),

    /** Loading an artifact has crashed processes lately. */
    LEFT_OUT("left-out"),

    /** An artifact failed and leaves the ladder. */
    LOST("lost"),

    /** A cache cannot be written; the message says what the session does instead. */
    CACHE("cache"),
}

/**
 * One event.
 *
 * @property unixS when.
 * @property artifact the id of what it is about, where it is about one; [label] its name for people.
 */
public data class SessionEvent(
    val unixS: Long,
    val kind: SessionEventKind,
    val message: String,
    val artifact: String?,
    val label: String?,
)

/** The latest events. [listener] hears each once, on the thread where it happened. */
internal class EventLog(private val clock: Clock, private val listener: ((SessionEvent) -> Unit)?) {
    private val kept = ArrayDeque<SessionEvent>()

    fun add(kind: SessionEventKind, message: String, about: ArtifactPlan? = null) {
        val event = SessionEvent(clock.unixS(), kind, message, about?.artifact, about?.label)
        synchronized(kept) {
            if (kept.size == MOST) kept.removeFirst()
            kept.addLast(event)
        }
        try {
            listener?.invoke(event)
        } catch (error: Exception) { // a fault of the app: it must not cost an artifact
            error.printStackTrace()
        }
    }

    /** Oldest first. */
    fun all(): List<SessionEvent> = synchronized(kept) { kept.toList() }

    private companion object {
        const val MOST = 256
    }
}
