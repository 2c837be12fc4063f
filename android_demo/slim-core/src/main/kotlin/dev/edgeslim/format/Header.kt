package dev.edgeslim.format

/** Types of tensors in a bundle, in the order of the data section. */
internal enum class TensorType(val itemBytes: Int) {
    F32(4),
    I32(4),
    F16(2),
    I8(1),
    U8(1),
}

/** One tensor; [begin] and [end] are byte offsets from the start of the data section. */
internal class TensorEntry(
    val name: String,
    val type: TensorType,
    val shape: LongArray,
    val begin: Long,
    val end: Long,
) {
    val bytes: Long
        get() = end - begin
}

/**
 * The safetensors header of a bundle (FORMAT.md §1): one canonical form, every rule checked before anything of its size
 * is allocated.
 *
 * @property dataStart file offset of the data section.
 */
internal class Header(val manifestSha256: String, val tensors: Map<String, TensorEntry>, val dataStart: Long) {
    companion object {
        private const val MAX_BYTES = 8L shl 20
        private const val MAX_TENSORS = 8192
        private const val MAX_PRODUCT = 1L shl 40
        private const val OPENING = "{\"__metadata__\":{\"format\":\"edgeslim\",\"format_version\":\""
        private const val VERSION = 1L

        /**
         * Length of the header text from the file's first bytes (up to 8).
         *
         * Throws [FormatException]: `truncated`, `header-too-large`, `bad-header`.
         */
        fun length(first: ByteArray, count: Int, fileBytes: Long): Int {
            if (count < 8) refuse("truncated", "the file has $count bytes, a bundle has more than 8")
            var length = 0L
            for (index in 7 downTo 0) length = (length shl 8) or (first[index].toLong() and 0xff)
            if (length < 0 || length > MAX_BYTES) {
                refuse("header-too-large", "the header has ${length.toULong()} bytes, at most $MAX_BYTES are allowed")
            }
            if (length % 8 != 0L) refuse("bad-header", "the header has $length bytes, expected a multiple of 8")
            if (8 + length > fileBytes) {
                refuse("truncated", "the header ends at byte ${8 + length}, the file at $fileBytes")
            }
            return length.toInt()
        }

        /**
         * Reads the header's [text] (without the length field) and holds it against the size of the file.
         *
         * Throws [FormatException] naming the broken rule.
         */
        fun parse(text: ByteArray, fileBytes: Long): Header = HeaderReader(text).read(fileBytes)

        private class HeaderReader(private val text: ByteArray) {
            private var at = 0

            fun read(fileBytes: Long): Header {
                if (!starts(OPENING)) refuse("not-a-bundle", "the header does not say that this is an edgeslim bundle")
                val digest = metadata()
                val tensors = LinkedHashMap<String, TensorEntry>()
                var last = ""
                while (true) {
                    val entry = entry(tensors.size) ?: break
                    if (tensors.containsKey(entry.name)) {
                        refuse("duplicate-key", "tensor '${entry.name}' stands twice in the header")
                    }
                    if (entry.name < last) {
                        refuse("key-order", "tensor '${entry.name}' stands after '$last', names ascend")
                    }
                    tensors[entry.name] = entry
                    last = entry.name
                }
                end()
                checkOffsets(tensors, fileBytes - 8 - text.size)
                return Header(digest, tensors, 8L + text.size)
            }

            private fun bad(): Nothing =
                refuse("bad-header", "byte ${8 + at} does not continue a header in canonical form")

            private fun starts(word: String): Boolean {
                if (at + word.length > text.size) return false
                for (index in word.indices) if (text[at + index].toInt() != word[index].code) return false
                at += word.length
                return true
            }

            private fun expect(word: String) {
                if (!starts(word)) bad()
            }

            private fun peek(): Int = if (at < text.size) text[at].toInt() and 0xff else -1

            private fun metadata(): String {
                val start = at
                while (peek() in '0'.code..'9'.code) at++
                val digits = String(text, start, at - start, Charsets.US_ASCII)
                if (digits.length !in 1..9 || digits[0] == '0') bad()
                expect("\",\"manifest_sha256\":\"")
                if (at + 64 > text.size) bad()
                val digest = String(text, at, 64, Charsets.ISO_8859_1)
                if (!Names.isHex(digest, 64)) bad()
                at += 64
                expect("\"}")
                if (digits.toLong() != VERSION) {
                    throw FormatException(
                        "unknown-version",
                        "the bundle has format version $digits, this reader knows $VERSION",
                        hint = "update edgeslim",
                    )
                }
                return digest
            }

            /** The next entry; null where the entries end. */
            private fun entry(before: Int): TensorEntry? {
                if (!starts(",\"")) return null
                val start = at
                while (peek() != '"'.code) {
                    if (peek() < 0 || peek() == '\\'.code) bad()
                    at++
                }
                if (at - start !in 1..256) bad()
                val name = String(text, start, at - start, Charsets.ISO_8859_1)
                expect("\":{\"data_offsets\":[")
                val begin = number()
                expect(",")
                val end = number()
                expect("],\"dtype\":\"")
                val dtype = dtype()
                expect("\",\"shape\":[")
                val shape = shape()
                expect("]}")
                if (before >= MAX_TENSORS) refuse("too-many-tensors", "more than $MAX_TENSORS tensors")
                return checked(name, dtype, shape, begin, end)
            }

            private fun number(): Long {
                val start = at
                var value = 0L
                while (peek() in '0'.code..'9'.code) {
                    if (at - start >= 15) bad()
                    value = value * 10 + (peek() - '0'.code)
                    at++
                }
                if (at == start || (at - start > 1 && text[start].toInt() == '0'.code)) bad()
                return value
            }

            private fun dtype(): String {
                val start = at
                while (peek() in 'A'.code..'Z'.code || peek() in '0'.code..'9'.code || peek() == '_'.code) at++
                if (at - start !in 1..16) bad()
                return String(text, start, at - start, Charsets.US_ASCII)
            }

            private fun shape(): LongArray {
                if (peek() == ']'.code) return LongArray(0)
                val dims = ArrayList<Long>(4)
                while (true) {
                    dims.add(number())
                    if (peek() != ','.code) break
                    if (dims.size == 8) bad()
                    at++
                }
                return dims.toLongArray()
            }

            private fun checked(name: String, dtype: String, shape: LongArray, begin: Long, end: Long): TensorEntry {
                if (!Names.isTensor(name)) refuse("bad-name", "no tensor may be called '$name'")
                val type =
                    TensorType.entries.firstOrNull { it.name == dtype }
                        ?: refuse("bad-dtype", "tensor '$name' has dtype $dtype, expected F32, I32, F16, I8 or U8")
                var count = 1L
                for (dim in shape) { // a product of at most 2^40 times a number below 2^50 may overflow: divide first
                    if (dim == 0L || dim > MAX_PRODUCT / count) {
                        refuse("bad-shape", "tensor '$name' has shape ${shape.contentToString()}")
                    }
                    count *= dim
                }
                if (shape.size !in 1..6 || end - begin != count * type.itemBytes) {
                    refuse("bad-shape", "tensor '$name' has ${end - begin} bytes, its shape and dtype do not")
                }
                return TensorEntry(name, type, shape, begin, end)
            }

            private fun end() {
                val start = at
                expect("}")
                while (at < text.size && text[at].toInt() == ' '.code) at++
                if (at != text.size || at - start > 8) bad()
                if ((start + 1 + 7) / 8 * 8 != text.size) {
                    refuse("bad-header", "the header is not padded to the next multiple of 8")
                }
            }

            private fun checkOffsets(tensors: Map<String, TensorEntry>, dataBytes: Long) {
                var position = 0L
                for (entry in tensors.values.sortedWith(compareBy({ it.type.ordinal }, { it.name }))) {
                    if (entry.begin != position) {
                        refuse("bad-offsets", "tensor '${entry.name}' starts at ${entry.begin}, expected $position")
                    }
                    position = entry.end
                }
                if (position > dataBytes) {
                    refuse("truncated", "the data ends at byte $position, the file holds $dataBytes bytes of it")
                }
                if (position < dataBytes) {
                    refuse("trailing-bytes", "${dataBytes - position} bytes after the last tensor")
                }
            }
        }
    }
}
