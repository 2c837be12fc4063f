package dev.edgeslim.format

import java.io.Closeable
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel

/**
 * The tensors of a bundle as they stand in the file. A file below 2 GiB is mapped once, of a larger one every tensor
 * that is asked for.
 */
internal class StoredTensors private constructor(private val source: Source, val header: Header) :
    MasterSource, Closeable {
    /** [length] bytes from [offset] of [channel]. */
    class Source(val channel: FileChannel, val offset: Long, val length: Long, val owned: Boolean) {
        fun map(from: Long, count: Long): ByteBuffer =
            channel.map(FileChannel.MapMode.READ_ONLY, offset + from, count).order(ByteOrder.LITTLE_ENDIAN)

        /** Up to [count] bytes from [from]. */
        fun read(from: Long, count: Int): ByteBuffer {
            val buffer = ByteBuffer.allocate(count)
            while (buffer.hasRemaining()) {
                if (channel.read(buffer, offset + from + buffer.position()) < 0) break
            }
            buffer.flip()
            return buffer
        }
    }

    private var whole: ByteBuffer? = if (source.length <= Int.MAX_VALUE) source.map(0, source.length) else null
    private val mapped = java.util.concurrent.ConcurrentHashMap<String, ByteBuffer>()

    /** A view of its own of the tensor [name]. Throws [FormatException] `too-large`. */
    fun tensor(name: String): ByteBuffer {
        val entry = header.tensors.getValue(name)
        if (entry.bytes > Int.MAX_VALUE) {
            refuse("too-large", "$name has ${entry.bytes} bytes, this reader maps ${Int.MAX_VALUE}")
        }
        val all = whole
        val start = header.dataStart + entry.begin
        if (all == null) {
            return try {
                mapped.getOrPut(name) { source.map(start, entry.bytes) }.duplicate().order(ByteOrder.LITTLE_ENDIAN)
            } catch (error: IOException) {
                throw IllegalStateException("the bundle is closed", error)
            }
        }
        val view = all.duplicate()
        view.position(start.toInt())
        view.limit((start + entry.bytes).toInt())
        return view.slice().order(ByteOrder.LITTLE_ENDIAN)
    }

    override fun master(name: String): ByteBuffer = tensor("master/$name")

    override fun step(name: String): ByteBuffer = tensor("step/$name")

    override fun close() {
        whole = ByteBuffer.allocate(0)
        mapped.clear()
        if (source.owned) source.channel.close()
    }

    companion object {
        /** Reads and checks the header. Throws [FormatException]. */
        fun of(source: Source): StoredTensors {
            val first = source.read(0, 8)
            val length = Header.length(first.array(), first.remaining(), source.length)
            val text = source.read(8, length)
            if (text.remaining() < length) refuse("truncated", "the file is shorter than it was")
            return StoredTensors(source, Header.parse(text.array(), source.length))
        }
    }
}
