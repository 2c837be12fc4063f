package dev.edgeslim.session

import dev.edgeslim.control.RuntimeInfo
import java.io.Closeable
import java.io.File
import java.nio.ByteBuffer

/**
 * What loads the artifacts of one target: ExecuTorch, LiteRT, or a pretended one in tests.
 *
 * Only the process's loading thread calls it.
 */
public interface Runtime {
    /** As variants name it: `executorch`, `litert`. */
    public val target: String

    /**
     * Loads the artifact [plan] from [file], a file or a directory.
     *
     * @param threads the runtime's own.
     * @throws Exception whatever keeps it from being loaded: the artifact is then not tried again in this session.
     */
    public fun load(file: File, plan: ArtifactPlan, threads: Int): Runner
}

/**
 * A loaded artifact. [run] is called by the thread that runs frames, by the loading thread before the first frame, and
 * never by two at once; [close] by the loading thread.
 */
public interface Runner : Closeable {
    /** By name: direct buffers in native order, as large as the plan's inputs. The caller fills them before [run]. */
    public val inputs: Map<String, ByteBuffer>

    /** As [inputs], with what the last [run] gave. */
    public val outputs: Map<String, ByteBuffer>

    /**
     * One inference; allocates nothing.
     *
     * @throws Exception the artifact is never run again in this session.
     */
    public fun run()

    /** What runs it, and how; threads in use, 0 where it does not say. */
    public fun describe(): RuntimeInfo
}

/** A session's two clocks. */
public interface Clock {
    /** Monotonic microseconds; on a phone one that goes on while it sleeps. */
    public fun nowUs(): Long

    /** Unix time in seconds. */
    public fun unixS(): Long

    public companion object {
        /** The machine's. */
        @JvmField
        public val SYSTEM: Clock =
            object : Clock {
                override fun nowUs(): Long = System.nanoTime() / 1000

                override fun unixS(): Long = System.currentTimeMillis() / 1000
            }
    }
}
