package dev.edgeslim.session

import dev.edgeslim.UsageException
import dev.edgeslim.control.Labels
import dev.edgeslim.format.Addressed
import dev.edgeslim.format.FileEntry
import dev.edgeslim.format.SlimBundle
import dev.edgeslim.format.TensorInfo
import dev.edgeslim.format.Variant
import dev.edgeslim.image.ImageContract
import java.io.File

/**
 * One artifact that a session may run: what it is called, what goes in and comes out, how it lies in a cache.
 *
 * @property artifact its id, `<variant>/<net>`.
 * @property label its name for people.
 * @property widthPermille of its net, where that has a width.
 * @property contract how an image becomes its input; null where it does not take one image.
 * @property key what rows of latency tables are bound to, and its name in a cache.
 */
public class ArtifactPlan
internal constructor(
    public val artifact: String,
    public val label: String,
    public val variant: Variant,
    public val net: String,
    public val widthPermille: Int?,
    public val macs: Long,
    public val contract: ImageContract?,
    public val key: String,
    internal val files: List<FileEntry>,
) {
    public val inputs: List<TensorInfo>
        get() = variant.inputs

    public val outputs: List<TensorInfo>
        get() = variant.outputs

    internal val name: String
        get() = "model${variant.suffix}"

    internal val sizeBytes: Long = files.sumOf { it.bytes }

    /** Where [file] lies when the artifact is at [root]. */
    internal fun place(root: File, file: FileEntry): File = if (variant.directory) File(root, file.path) else root
}

/**
 * Every artifact of a bundle for one target (or of some of its variants) by id, from narrow to wide. Narrow and wide
 * mean multiply-adds here: the one order that is known before anything has been measured.
 */
internal class Deployment
private constructor(
    val bundle: SlimBundle,
    val target: String,
    val variants: List<Variant>,
    val plans: Map<String, ArtifactPlan>,
) {
    fun build(artifact: String, out: File) {
        bundle.rebuild(artifact, out)
    }

    /** The artifact with this id or label. Throws [UsageException]. */
    fun named(name: String): ArtifactPlan =
        plans.values.firstOrNull { it.artifact == name || it.label == name }
            ?: throw UsageException("no artifact '$name'; there are ${plans.keys.joinToString()}")

    companion object {
        /** The variants called so (`fp32-224` or the whole id); null takes all of [target]. Throws [UsageException]. */
        fun of(bundle: SlimBundle, target: String, variants: List<String>?): Deployment {
            val all = bundle.manifest.variants.filter { it.target == target }
            if (all.isEmpty()) throw UsageException("the bundle has nothing for '$target'")
            val chosen =
                variants?.map { name ->
                    all.firstOrNull { it.id == name || it.id == "$target-$name" }
                        ?: throw UsageException(
                            "no variant '$name' of $target; there are ${all.joinToString { it.id }}"
                        )
                } ?: all
            val addressed = chosen.distinct().flatMap { variant -> variant.artifacts.map { Addressed(variant, it) } }
            val labels = labels(chosen.distinct(), addressed)
            val plans =
                addressed
                    .map { plan(bundle, it, labels.getValue(it.id)) }
                    .sortedWith(compareBy({ it.macs }, { it.sizeBytes }, { it.artifact }))
            return Deployment(bundle, target, chosen.distinct(), plans.associateBy { it.artifact })
        }

        private fun plan(bundle: SlimBundle, chosen: Addressed, label: String): ArtifactPlan {
            val tensors = bundle.manifest.input(chosen.variant.input)!!.tensors
            return ArtifactPlan(
                artifact = chosen.id,
                label = label,
                variant = chosen.variant,
                net = chosen.artifact.net,
                widthPermille = bundle.manifest.net(chosen.artifact.net)!!.widths.firstOrNull(),
                macs = chosen.artifact.macs,
                contract = if (tensors.size == 1) tensors[0].image else null,
                key = chosen.artifact.sha256(),
                files = chosen.artifact.files,
            )
        }

        /** As short as tells them apart; ids where labels would be the same. */
        private fun labels(variants: List<Variant>, artifacts: List<Addressed>): Map<String, String> {
            val precisions = variants.map { it.precision }.distinct().size > 1
            val inputs = variants.map(::inputName).distinct().size > 1
            val found =
                artifacts.associate {
                    val precision = if (precisions) it.variant.precision else null
                    it.id to Labels.of(it.artifact.net, precision, if (inputs) inputName(it.variant) else null)
                }
            val times = found.values.groupingBy { it }.eachCount()
            return found.mapValues { (id, label) -> if (times.getValue(label) > 1) id else label }
        }

        /** What tells the inputs of variants apart, for people: `224`, `320x240`, or the sizes of a tensor. */
        private fun inputName(variant: Variant): String {
            val info = variant.inputs[0]
            val sizes =
                when (info.layout) {
                    "NCHW" -> info.shape.drop(2)
                    "NHWC" -> info.shape.drop(1).take(2)
                    else -> info.shape.drop(1)
                }
            return if (sizes.size == 2 && sizes[0] == sizes[1]) sizes[0].toString()
            else sizes.reversed().joinToString("x")
        }
    }
}
