package dev.edgeslim.format

import dev.edgeslim.control.Width
import dev.edgeslim.image.ImageContract
import dev.edgeslim.json.JsonObject
import dev.edgeslim.json.StrictJson

/**
 * Which network a bundle holds.
 *
 * @property spec free JSON from which edgeslim builds the network again.
 */
public data class ModelInfo(
    val id: String,
    val version: String,
    val author: String,
    val licence: String,
    val source: String,
    val attribution: String,
    val description: String,
    val spec: JsonObject,
)

/** A tensor that is no image. */
public data class PlainInput(val shape: List<Int>, val dtype: String, val meaning: String)

/** One named value that goes into the net; exactly one of [image] and [tensor]. */
public data class InputTensor(val name: String, val image: ImageContract?, val tensor: PlainInput?)

/** What goes into the net, before a variant gives it its form. */
public data class InputInfo(val id: String, val tensors: List<InputTensor>)

/**
 * A named run of positions along axes of masters: channels that are cut together.
 *
 * @property size positions at full size.
 * @property optional whether a net may leave all of it out.
 */
public data class Part(val name: String, val size: Int, val optional: Boolean)

/** What a master is. */
public enum class Role(internal val text: String) {
    /** Of a convolution or linear layer, may be scaled. */
    WEIGHT("weight"),

    /** Anything else: cut, never scaled. */
    TENSOR("tensor"),

    /** Every net brings its own numbers. */
    OWN("own"),
}

/** The type of a master's numbers. */
public enum class MasterType(internal val text: String) {
    F32("f32"),
    F16("f16"),
    I8("i8"),
    I32("i32"),
}

/** How an int8 net gets the integers of a weight. */
public enum class Integers(internal val text: String) {
    NONE("none"),
    SHARED("shared"),
    OWN("own"),
}

/**
 * One constant of the full-size network (FORMAT.md, "master").
 *
 * @property axes per axis, slowest first, the indices of the parts along it.
 * @property rows the axis of output channels.
 * @property bias name of the master that is the bias of this weight.
 * @property of name of the master whose tensor this one shares.
 */
public data class Master(
    val name: String,
    val role: Role,
    val dtype: MasterType,
    val axes: List<List<Int>>,
    val rows: Int,
    val groups: Int,
    val inScale: Boolean,
    val scale: Boolean,
    val shift: Boolean,
    val bias: String?,
    val integers: Integers,
    val correction: Boolean,
    val of: String?,
    val sha256: String?,
    val stepSha256: String?,
) {
    /** Lengths of all axes in the full-size network. */
    internal fun fullShape(parts: List<Part>): LongArray =
        LongArray(axes.size) { axis -> axes[axis].sumOf { parts[it].size.toLong() } }

    /** Output channels of a weight in the full-size network. */
    internal fun fullOutputs(parts: List<Part>): Long {
        val shape = fullShape(parts)
        return if (rows == 0) shape[0] else shape[1] * groups
    }
}

/**
 * A cut with its statistics.
 *
 * @property widths its names in permille, ascending; empty of a net that only has a label.
 * @property cut for every part how many of its positions, the first ones, are used.
 * @property params parameters before folding.
 */
public data class Net(
    val id: String,
    val widths: List<Int>,
    val cut: List<Int>,
    val params: Long,
    val foldSha256: String?,
    val quantSha256: String?,
)

/** real = (integer − [zeroPoint]) · scale; [scaleBits] are the 8 hexadecimal digits of the float32. */
public data class Quantised(val scaleBits: String, val zeroPoint: Long)

/**
 * One input or output of an artifact.
 *
 * @property layout such as `NCHW`, `NHWC` or `NC`.
 */
public data class TensorInfo(
    val name: String,
    val shape: List<Int>,
    val dtype: String,
    val layout: String,
    val meaning: String,
    val quantised: Quantised?,
)

/**
 * How good an artifact was.
 *
 * @property value decimal text.
 * @property count samples.
 * @property agreement decimal text: share of the answers that the widest net gives too.
 */
public data class Quality(
    val metric: String,
    val value: String,
    val largerIsBetter: Boolean,
    val count: Long,
    val dataSha256: String?,
    val agreement: String?,
)

/** One file of an artifact; [path] is relative to the artifact's directory, or the suggested file name. */
public data class FileEntry(val path: String, val bytes: Long, val sha256: String)

/** The images that statistics or input scales were taken from. */
public data class Images(val images: Long, val dataSha256: String?)

/**
 * What the exporter wrote for one net.
 *
 * @property base the artifact whose template is the base of this one.
 * @property macs multiply-adds for one input.
 * @property requires lowest versions of runtime and operating system, by name.
 */
public data class ArtifactEntry(
    val net: String,
    val base: String?,
    val macs: Long,
    val requires: Map<String, String>,
    val quality: Quality?,
    val files: List<FileEntry>,
    val explainedBytes: Long,
    val literalBytes: Long,
    val templateBytes: Long,
    val templateSha256: String,
    val recipeBytes: Long,
    val recipeSha256: String,
) {
    /** Bytes of all files. */
    val totalBytes: Long
        get() = files.sumOf { it.bytes }

    /** What rows of latency tables are bound to: the file's SHA-256, or that of the canonical list of all. */
    public fun sha256(): String =
        if (files.size == 1) files[0].sha256
        else Sha256.hex(StrictJson.canonical(files.map { listOf(it.path, it.sha256) }).toByteArray())
}

/**
 * All artifacts of one runtime, precision and input.
 *
 * @property suffix how such artifacts are called, such as `.pte`.
 * @property directory whether an artifact is a directory of files.
 * @property exporters versions of the packages that made them.
 */
public data class Variant(
    val id: String,
    val target: String,
    val precision: String,
    val backend: String,
    val input: String,
    val form: String,
    val suffix: String,
    val directory: Boolean,
    val normalisation: String,
    val inputs: List<TensorInfo>,
    val outputs: List<TensorInfo>,
    val exporters: Map<String, String>,
    val artifacts: List<ArtifactEntry>,
) {
    /** The artifact of [net]; null where there is none. */
    public fun artifact(net: String): ArtifactEntry? = artifacts.firstOrNull { it.net == net }
}

/**
 * What a bundle holds, for whom, and the hash of everything; obeys every rule of FORMAT.md §3.
 *
 * @property low trained range of widths in permille.
 * @property high see [low].
 */
public data class SlimManifest(
    val requiredFeatures: List<String>,
    val model: ModelInfo,
    val task: String,
    val taskSpec: JsonObject,
    val labels: List<String>?,
    val low: Long,
    val high: Long,
    val inputs: List<InputInfo>,
    val parts: List<Part>,
    val masters: List<Master>,
    val nets: List<Net>,
    val variants: List<Variant>,
    val policy: JsonObject?,
    val checkpointSha256: String?,
    val calibration: Images?,
    val ranges: Images?,
    val extra: JsonObject,
) {
    /** The net called [id]; null where there is none. */
    public fun net(id: String): Net? = nets.firstOrNull { it.id == id }

    /** The net that has [width] among its names; null where there is none. */
    public fun net(width: Width): Net? = nets.firstOrNull { width.permille in it.widths }

    /** The variant called [id]; null where there is none. */
    public fun variant(id: String): Variant? = variants.firstOrNull { it.id == id }

    /** The input called [id]; null where there is none. */
    public fun input(id: String): InputInfo? = inputs.firstOrNull { it.id == id }
}

/** What addresses an artifact: `executorch-fp32-224/0500`. */
public fun artifactId(variant: String, net: String): String = "$variant/$net"
