package dev.edgeslim.format

import java.io.Closeable

/** A file that is being written. */
internal interface FileSink : ByteSink, Closeable {
    /** All bytes are there and their hash is right: the file may get its name. */
    fun commit()
}

/**
 * From a bundle's parts back to the exporter's bytes, hashed on the way (FORMAT.md §8).
 *
 * @param segments ascending, each inside one file ([Recipe.decode] proves it).
 */
internal class Rebuild(
    private val files: List<FileEntry>,
    private val segments: List<Segment>,
    net: NetConstants,
    private val template: TemplateReader,
) {
    private val writer = SegmentWriter(net)
    private val digest = Sha256.digest()

    /**
     * Writes every file; [open] gives the place of one.
     *
     * Throws [FormatException]: `hash-mismatch`, and what [TemplateReader] and [NetConstants] refuse.
     */
    fun run(open: (FileEntry) -> FileSink) {
        var next = 0
        var start = 0L
        for ((index, file) in files.withIndex()) {
            open(file).use { sink ->
                val tee = ByteSink { bytes, offset, count ->
                    digest.update(bytes, offset, count)
                    sink.write(bytes, offset, count)
                }
                next = write(start, start + file.bytes, next, tee)
                if (index == files.size - 1) template.finish()
                if (Sha256.hex(digest) != file.sha256) {
                    refuse("hash-mismatch", "${file.path} was rebuilt with another content than was packed")
                }
                sink.commit()
            }
            start += file.bytes
        }
    }

    private fun write(start: Long, end: Long, firstSegment: Int, sink: ByteSink): Int {
        var next = firstSegment
        var position = start
        while (next < segments.size && segments[next].offset < end) {
            val segment = segments[next++]
            copy(segment.offset - position, sink)
            writer.write(segment, sink)
            position = segment.offset + segment.bytes
        }
        copy(end - position, sink)
        return next
    }

    private fun copy(count: Long, sink: ByteSink) {
        template.read(count) { bytes, offset, length -> sink.write(bytes, offset, length) }
    }
}

/** Takes a file's bytes and forgets them: for checks. */
internal object Nowhere : FileSink {
    override fun write(bytes: ByteArray, offset: Int, count: Int) {}

    override fun commit() {}

    override fun close() {}
}
