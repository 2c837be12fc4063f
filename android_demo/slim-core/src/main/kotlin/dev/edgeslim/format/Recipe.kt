package dev.edgeslim.format

/** How numbers are stored, all little endian (FORMAT.md §6); the codes are the places in this list. */
internal enum class Rule(val itemBytes: Int) {
    F32(4),
    F16(2),
    F16_COREML(2),
    I8(1),
    I32(4);

    companion object {
        val all: List<Rule> = entries.toList()
    }
}

/**
 * One constant at [offset] of the joined files.
 *
 * @property hashed what stands there is the SHA-256 of the stored bytes, in hexadecimal digits.
 * @property firstRow of axis 0 of the constant.
 */
internal class Segment(
    val offset: Long,
    val master: Int,
    val kind: Kind,
    val layout: Int,
    val rule: Rule,
    val hashed: Boolean,
    val firstRow: Int,
    val rows: Int,
    val bytes: Long,
)

/** Where constants stand in an artifact's files (FORMAT.md §6). */
internal object Recipe {
    private const val MAX_SEGMENTS = 8192L
    private const val HASH_BYTES = 64L

    /**
     * Reads a recipe and proves that every segment lies in one file and overlaps no other.
     *
     * Throws [FormatException]: `bad-recipe`, `unknown-code`, `bad-reference`, `segment-out-of-file`.
     */
    fun decode(content: ByteArray, cuts: List<MasterCut>, files: List<FileEntry>, quantised: Boolean): List<Segment> {
        val reader = Numbers(content)
        val count = reader.take()
        if (count > MAX_SEGMENTS || count * 4 > content.size) {
            refuse("bad-recipe", "the recipe declares $count segments in ${content.size} bytes")
        }
        val segments = ArrayList<Segment>(count.toInt())
        var file = 0
        var fileEnd = if (files.isEmpty()) 0L else files[0].bytes
        var position = 0L
        for (index in 0 until count) {
            val segment = segment(reader, position, cuts, quantised)
            while (file < files.size && segment.offset >= fileEnd) {
                file++
                if (file < files.size) fileEnd += files[file].bytes
            }
            position = segment.offset + segment.bytes
            if (file == files.size || position > fileEnd) {
                refuse("segment-out-of-file", "a segment ends at byte $position, outside the file it is in")
            }
            segments.add(segment)
        }
        if (!reader.atEnd) refuse("bad-recipe", "bytes after the last segment")
        return segments
    }

    private fun segment(reader: Numbers, position: Long, cuts: List<MasterCut>, quantised: Boolean): Segment {
        val offset = position + reader.take()
        val master = reader.take()
        val kindCode = reader.take()
        val code = reader.take()
        val partial = code and 1L == 1L
        val first = if (partial) reader.take() else 0L
        val rows = if (partial) reader.take() else 0L
        val ruleCode = (code shr 2 and 7).toInt()
        if (kindCode >= Kind.all.size || ruleCode >= Rule.all.size) {
            refuse("unknown-code", "a segment has the kind $kindCode and rule $ruleCode, one of which is not known")
        }
        if (master >= cuts.size) refuse("bad-reference", "a segment is of master $master, the net has ${cuts.size}")
        val cut = cuts[master.toInt()]
        val kind = Kind.all[kindCode.toInt()]
        val rule = Rule.all[ruleCode]
        if (!kind.isOf(cut.master, quantised)) refuse("bad-reference", "'${cut.master.name}' has no $kind at this net")
        val shape = kind.shape(cut)
        val layout = code shr 5
        if (!Layouts.has(layout, shape.size)) {
            refuse("unknown-code", "a segment has layout $layout, which ${shape.size} axes do not have")
        }
        if (!fits(rule, kind, cut.master)) {
            refuse("bad-reference", "the $kind of '${cut.master.name}' is not stored as $rule")
        }
        if (partial && (rows == 0L || first + rows > shape[0])) {
            refuse("bad-reference", "a segment is rows $first to ${first + rows} of '${cut.master.name}'")
        }
        val count = if (partial) rows.toInt() else shape[0]
        val hashed = code and 2L == 2L
        var bytes = count.toLong() * rule.itemBytes
        for (axis in 1 until shape.size) bytes *= shape[axis]
        return Segment(
            offset = offset,
            master = master.toInt(),
            kind = kind,
            layout = layout.toInt(),
            rule = rule,
            hashed = hashed,
            firstRow = first.toInt(),
            rows = count,
            bytes = if (hashed) HASH_BYTES else bytes,
        )
    }

    private fun fits(rule: Rule, kind: Kind, master: Master): Boolean =
        when {
            !kind.isInteger(master) -> rule <= Rule.F16_COREML
            kind == Kind.BIAS_INTEGERS || (kind == Kind.VECTOR && master.dtype == MasterType.I32) -> rule == Rule.I32
            else -> rule == Rule.I8
        }

    /** Unsigned LEB128 numbers below 2^53 in their shortest form. */
    private class Numbers(private val content: ByteArray) {
        private var at = 0

        val atEnd: Boolean
            get() = at == content.size

        fun take(): Long {
            var value = 0L
            var shift = 0
            while (true) {
                if (at >= content.size) refuse("bad-recipe", "the recipe ends inside a number")
                val byte = content[at++].toInt() and 0xff
                value = value or ((byte and 0x7f).toLong() shl shift)
                if (byte < 0x80) {
                    if (value >= 1L shl 53 || (byte == 0 && shift > 0)) {
                        refuse("bad-recipe", "a number is too large or not in its shortest form")
                    }
                    return value
                }
                shift += 7
                if (shift > 49) refuse("bad-recipe", "a number has more than 8 bytes")
            }
        }
    }
}
