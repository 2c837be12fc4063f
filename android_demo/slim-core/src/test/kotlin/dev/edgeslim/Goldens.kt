package dev.edgeslim

import dev.edgeslim.json.StrictJson
import java.io.File
import java.util.zip.InflaterInputStream

/** The goldens that all languages share; the build says where they are. */
object Goldens {
    val root: File = File(checkNotNull(System.getProperty("edgeslim.golden")) { "edgeslim.golden is not set" })

    fun file(path: String): File = File(root, path).also { check(it.exists()) { "no golden $it" } }

    fun json(path: String): Any? = StrictJson.parse(file(path).readText())

    fun jsonl(path: String): List<Any?> = file(path).readLines().filter { it.isNotEmpty() }.map(StrictJson::parse)

    /** A bundle of the goldens; those stored deflated are inflated into [folder]. */
    fun bundle(path: String, folder: File): File {
        val file = file("bundles/$path")
        if (!path.endsWith(".z")) return file
        val inflated = File(folder, file.name.removeSuffix(".z"))
        inflated.writeBytes(InflaterInputStream(file.inputStream()).use { it.readBytes() })
        return inflated
    }
}

/** Members of parsed JSON, for tests. */
@Suppress("UNCHECKED_CAST")
class Json(val value: Any?) {
    operator fun get(name: String): Json = Json((value as Map<String, Any?>).getValue(name))

    fun has(name: String): Boolean = (value as Map<String, Any?>).containsKey(name)

    val text: String
        get() = value as String

    val long: Long
        get() = value as Long

    val int: Int
        get() = (value as Long).toInt()

    val list: List<Json>
        get() = (value as List<Any?>).map(::Json)

    val map: Map<String, Json>
        get() = (value as Map<String, Any?>).mapValues { Json(it.value) }
}
