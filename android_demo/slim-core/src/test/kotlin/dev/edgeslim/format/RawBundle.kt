package dev.edgeslim.format

import java.io.ByteArrayOutputStream
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.Deflater

/**
 * A bundle in its parts, to be changed and written again with sizes and the manifest's hash made right: for hostile
 * tests.
 */
class RawBundle private constructor(private val tensors: LinkedHashMap<String, Tensor>) {
    private class Tensor(val type: String, val shape: List<Long>, val content: ByteArray)

    var manifest: String
        get() = String(tensors.getValue("manifest").content)
        set(text) = stored("manifest", text.toByteArray())

    fun content(name: String): ByteArray = tensors.getValue(name).content

    /** A tensor of bytes. */
    fun stored(name: String, content: ByteArray) {
        tensors[name] = Tensor("U8", listOf(content.size.toLong()), content)
    }

    /** A deflated part of [content], whose hash in the manifest is made right too. */
    fun deflated(name: String, content: ByteArray, inflated: ByteArray) {
        val deflater = Deflater(9)
        deflater.setInput(content)
        deflater.finish()
        val buffer = ByteArray(content.size + 100)
        stored(name, buffer.copyOf(deflater.deflate(buffer)))
        deflater.end()
        manifest = manifest.replace(Sha256.hex(inflated), Sha256.hex(content))
    }

    fun toBytes(): ByteArray {
        val order = listOf("F32", "I32", "F16", "I8", "U8")
        val inOrder = tensors.entries.sortedWith(compareBy({ order.indexOf(it.value.type) }, { it.key }))
        val places = HashMap<String, Pair<Long, Long>>()
        val data = ByteArrayOutputStream()
        for ((name, tensor) in inOrder) {
            val begin = data.size().toLong()
            data.write(tensor.content)
            places[name] = Pair(begin, data.size().toLong())
        }
        val digest = Sha256.hex(tensors.getValue("manifest").content)
        val entries =
            tensors.keys.sorted().joinToString("") { name ->
                val (begin, end) = places.getValue(name)
                val tensor = tensors.getValue(name)
                val shape = tensor.shape.joinToString(",")
                ",\"$name\":{\"data_offsets\":[$begin,$end],\"dtype\":\"${tensor.type}\",\"shape\":[$shape]}"
            }
        val metadata = "\"format\":\"edgeslim\",\"format_version\":\"1\",\"manifest_sha256\":\"$digest\""
        val text = "{\"__metadata__\":{$metadata}$entries}"
        val header = text.padEnd((text.length + 7) / 8 * 8).toByteArray()
        val length = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(header.size.toLong()).array()
        return length + header + data.toByteArray()
    }

    companion object {
        fun read(file: File): RawBundle {
            val bytes = file.readBytes()
            val length = Header.length(bytes, 8, bytes.size.toLong())
            val header = Header.parse(bytes.copyOfRange(8, 8 + length), bytes.size.toLong())
            val tensors = LinkedHashMap<String, Tensor>()
            for ((name, entry) in header.tensors) {
                val start = (header.dataStart + entry.begin).toInt()
                val content = bytes.copyOfRange(start, start + entry.bytes.toInt())
                tensors[name] = Tensor(entry.type.name, entry.shape.toList(), content)
            }
            return RawBundle(tensors)
        }
    }
}
