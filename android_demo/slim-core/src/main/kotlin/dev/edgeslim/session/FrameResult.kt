package dev.edgeslim.session

import dev.edgeslim.control.Decision
import dev.edgeslim.control.Reading
import java.nio.ByteBuffer

/** Fills the inputs of a frame. */
public fun interface FrameFiller {
    /**
     * Writes into [inputs], by name: direct buffers in native order as [plan]'s inputs say, each from 0 to its end.
     *
     * @throws Exception a mistake of the caller: it comes out of `run` and changes nothing.
     */
    public fun fill(plan: ArtifactPlan, inputs: Map<String, ByteBuffer>)
}

/** One frame. A session has one of these: it is valid until its next `run`. */
public class FrameResult internal constructor() {
    private var ran: LoadedArtifact? = null
    private var decided: Decision? = null
    private var told: Reading? = null

    /** By name, the runner's own buffers. */
    public val outputs: Map<String, ByteBuffer>
        get() = ran!!.runner.outputs

    /** What ran; not yet the decided artifact while that one is being prepared. */
    public val plan: ArtifactPlan
        get() = ran!!.plan

    /** Of the runtime's call alone, in microseconds. */
    public var latencyUs: Long = 0
        private set

    /** What filling the inputs took, in microseconds. */
    public var fillUs: Long = 0
        private set

    /** What the controller was told. */
    public val reading: Reading
        get() = told!!

    public val decision: Decision
        get() = decided!!

    /** Whether the inference took longer than it had. */
    public val missed: Boolean
        get() = latencyUs > reading.deadlineUs

    /** For people: `narrowed to 0.75x: thermal level 2 caps at 0.75x`. */
    public fun reason(): String {
        val sentence = decision.sentence()
        if (plan.artifact == decision.artifact) return sentence
        return "$sentence; ran at ${plan.label} while ${decision.label} is prepared"
    }

    internal fun set(loaded: LoadedArtifact, latency: Long, fill: Long, reading: Reading, decision: Decision) {
        ran = loaded
        latencyUs = latency
        fillUs = fill
        told = reading
        decided = decision
    }
}

/**
 * Since the session began.
 *
 * @property switches how often another artifact ran than in the frame before.
 */
public class SessionCounts internal constructor() {
    public var frames: Long = 0
        private set

    public var misses: Long = 0
        private set

    public var switches: Long = 0
        private set

    private val at = HashMap<String, LongArray>()
    private var last: String? = null

    /** Frames by artifact id. */
    public fun framesAt(): Map<String, Long> = at.mapValues { it.value[0] }

    internal fun add(result: FrameResult) {
        val artifact = result.plan.artifact
        frames++
        if (result.missed) misses++
        if (last != null && artifact != last) switches++
        last = artifact
        val count = at[artifact]
        if (count == null) at[artifact] = longArrayOf(1) else count[0]++
    }
}
