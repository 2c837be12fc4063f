package dev.edgeslim.format

import dev.edgeslim.image.ChannelOrder
import dev.edgeslim.image.ImageContract
import dev.edgeslim.image.ImageException
import dev.edgeslim.image.Interpolation
import dev.edgeslim.image.PixelRange
import dev.edgeslim.image.Resize
import dev.edgeslim.json.Fields
import dev.edgeslim.json.StrictJsonException

/**
 * Reads a manifest from strangers.
 *
 * ```
 * text ─► canonical JSON ─► features known? ─► members and types ─► ManifestRules ─► SlimManifest
 * ```
 */
internal object ManifestReader {
    const val MAX_BYTES: Int = 4 shl 20
    private val TASKS = listOf("classify", "detect", "segment", "pose", "upscale", "policy", "other").associateBy { it }
    private val ROLES = Role.entries.associateBy { it.text }
    private val TYPES = MasterType.entries.associateBy { it.text }
    private val INTEGERS = Integers.entries.associateBy { it.text }
    private val ORDERS = ChannelOrder.entries.associateBy { it.text }
    private val RESIZES = Resize.entries.associateBy { it.text }
    private val INTERPOLATIONS = Interpolation.entries.associateBy { it.text }
    private val RANGES = PixelRange.entries.associateBy { it.text }

    /** The manifest in [text]. Throws [FormatException] naming the broken rule. */
    fun read(text: ByteArray): SlimManifest {
        if (text.size > MAX_BYTES) refuse("manifest-too-large", "${text.size} bytes, at most $MAX_BYTES are allowed")
        val document = CanonicalJson.parse(text)
        val features = (document as? Map<*, *>)?.get("required_features") as? List<*>
        if (!features.isNullOrEmpty()) { // first: other members may look different with a feature
            throw FormatException(
                "unknown-feature",
                "the bundle needs '${features[0].toString().take(80)}', which this reader does not know",
                hint = "update edgeslim",
            )
        }
        val manifest =
            try {
                manifest(document)
            } catch (error: StrictJsonException) {
                refuse("bad-manifest", error.message!!)
            } catch (error: ImageException) {
                refuse("bad-input", error.message)
            }
        ManifestRules.check(manifest)
        return manifest
    }

    private fun manifest(value: Any?): SlimManifest =
        with(Fields(value)) {
            SlimManifest(
                    requiredFeatures = list("required_features", Fields.Companion::textOf),
                    model = nested("model", ::model),
                    task = choice("task", TASKS),
                    taskSpec = free("task_spec"),
                    labels = listOrNull("labels", Fields.Companion::textOf),
                    low = whole("low"),
                    high = whole("high"),
                    inputs = list("inputs", ::input),
                    parts = list("parts", ::part),
                    masters = list("masters", ::master),
                    nets = list("nets", ::net),
                    variants = list("variants", ::variant),
                    policy = freeOrNull("policy"),
                    checkpointSha256 = textOrNull("checkpoint_sha256"),
                    calibration = nestedOrNull("calibration", ::images),
                    ranges = nestedOrNull("ranges", ::images),
                    extra = free("extra"),
                )
                .also { finish() }
        }

    private fun model(value: Any?, where: String): ModelInfo =
        with(Fields(value, where)) {
            ModelInfo(
                    id = text("id"),
                    version = text("version"),
                    author = text("author"),
                    licence = text("licence"),
                    source = text("source"),
                    attribution = text("attribution"),
                    description = text("description"),
                    spec = free("spec"),
                )
                .also { finish() }
        }

    private fun input(value: Any?, where: String): InputInfo =
        with(Fields(value, where)) { InputInfo(text("id"), list("tensors", ::inputTensor)).also { finish() } }

    private fun inputTensor(value: Any?, where: String): InputTensor =
        with(Fields(value, where)) {
            InputTensor(text("name"), nestedOrNull("image", ::image), nestedOrNull("tensor", ::plain)).also { finish() }
        }

    internal fun image(value: Any?, where: String): ImageContract =
        with(Fields(value, where)) {
            ImageContract(
                    channels = small("channels", "bad-input"),
                    height = small("height", "bad-input"),
                    width = small("width", "bad-input"),
                    order = choice("order", ORDERS),
                    mean = list("mean", Fields.Companion::textOf),
                    std = list("std", Fields.Companion::textOf),
                    resize = choice("resize", RESIZES),
                    crop = text("crop"),
                    interpolation = choice("interpolation", INTERPOLATIONS),
                    antialias = flag("antialias"),
                    range = choice("range", RANGES),
                    pad = small("pad", "bad-input"),
                )
                .also { finish() }
        }

    private fun plain(value: Any?, where: String): PlainInput =
        with(Fields(value, where)) {
            PlainInput(shape("shape", "bad-input"), text("dtype"), text("meaning")).also { finish() }
        }

    private fun part(value: Any?, where: String): Part =
        with(Fields(value, where)) { Part(text("name"), small("size", "bad-part"), flag("optional")).also { finish() } }

    private fun master(value: Any?, where: String): Master =
        with(Fields(value, where)) {
            Master(
                    name = text("name"),
                    role = choice("role", ROLES),
                    dtype = choice("dtype", TYPES),
                    axes =
                        list("axes") { axis, at ->
                            Fields.listOf(axis, at) { part, to -> small(part, to, "bad-master") }
                        },
                    rows = small("rows", "bad-master"),
                    groups = small("groups", "bad-master"),
                    inScale = flag("in_scale"),
                    scale = flag("scale"),
                    shift = flag("shift"),
                    bias = textOrNull("bias"),
                    integers = choice("integers", INTEGERS),
                    correction = flag("correction"),
                    of = textOrNull("of"),
                    sha256 = textOrNull("sha256"),
                    stepSha256 = textOrNull("step_sha256"),
                )
                .also { finish() }
        }

    private fun net(value: Any?, where: String): Net =
        with(Fields(value, where)) {
            Net(
                    id = text("id"),
                    widths = list("widths") { width, at -> small(width, at, "bad-net") },
                    cut = list("cut") { count, at -> small(count, at, "bad-cut") },
                    params = whole("params"),
                    foldSha256 = textOrNull("fold_sha256"),
                    quantSha256 = textOrNull("quant_sha256"),
                )
                .also { finish() }
        }

    private fun variant(value: Any?, where: String): Variant =
        with(Fields(value, where)) {
            Variant(
                    id = text("id"),
                    target = text("target"),
                    precision = text("precision"),
                    backend = text("backend"),
                    input = text("input"),
                    form = text("form"),
                    suffix = text("suffix"),
                    directory = flag("directory"),
                    normalisation = text("normalisation"),
                    inputs = list("inputs", ::tensor),
                    outputs = list("outputs", ::tensor),
                    exporters = texts("exporters"),
                    artifacts = list("artifacts", ::artifact),
                )
                .also { finish() }
        }

    private fun tensor(value: Any?, where: String): TensorInfo =
        with(Fields(value, where)) {
            TensorInfo(
                    name = text("name"),
                    shape = shape("shape", "bad-variant"),
                    dtype = text("dtype"),
                    layout = text("layout"),
                    meaning = text("meaning"),
                    quantised = nestedOrNull("quantised", ::quantised),
                )
                .also { finish() }
        }

    private fun quantised(value: Any?, where: String): Quantised =
        with(Fields(value, where)) { Quantised(text("scale_bits"), whole("zero_point")).also { finish() } }

    private fun artifact(value: Any?, where: String): ArtifactEntry =
        with(Fields(value, where)) {
            ArtifactEntry(
                    net = text("net"),
                    base = textOrNull("base"),
                    macs = whole("macs"),
                    requires = texts("requires"),
                    quality = nestedOrNull("quality", ::quality),
                    files = list("files", ::file),
                    explainedBytes = whole("explained_bytes"),
                    literalBytes = whole("literal_bytes"),
                    templateBytes = whole("template_bytes"),
                    templateSha256 = text("template_sha256"),
                    recipeBytes = whole("recipe_bytes"),
                    recipeSha256 = text("recipe_sha256"),
                )
                .also { finish() }
        }

    private fun quality(value: Any?, where: String): Quality =
        with(Fields(value, where)) {
            Quality(
                    metric = text("metric"),
                    value = text("value"),
                    largerIsBetter = flag("larger_is_better"),
                    count = whole("count"),
                    dataSha256 = textOrNull("data_sha256"),
                    agreement = textOrNull("agreement"),
                )
                .also { finish() }
        }

    private fun file(value: Any?, where: String): FileEntry =
        with(Fields(value, where)) { FileEntry(text("path"), whole("bytes"), text("sha256")).also { finish() } }

    private fun images(value: Any?, where: String): Images =
        with(Fields(value, where)) { Images(whole("images"), textOrNull("data_sha256")).also { finish() } }

    private fun Fields.small(name: String, rule: String): Int = nested(name) { value, at -> small(value, at, rule) }

    private fun Fields.shape(name: String, rule: String): List<Int> = list(name) { size, at -> small(size, at, rule) }

    /** A whole number that no rule allows beyond 31 bits; larger ones break [rule]. */
    private fun small(value: Any?, where: String, rule: String): Int {
        val found = Fields.wholeOf(value, where)
        if (found > Int.MAX_VALUE || found < -Int.MAX_VALUE) refuse(rule, "$where is $found")
        return found.toInt()
    }
}
