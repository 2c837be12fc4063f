package dev.edgeslim.format

/** Every rule of FORMAT.md §3 that is not about members and types; each refusal names its rule. */
internal object ManifestRules {
    private const val MAX_PERMILLE = 100_000
    private const val MAX_FOLD_NUMBERS = 1L shl 20
    private const val MAX_QUANT_BYTES = 4L shl 20
    private const val MAX_CUT_ENTRIES = 1L shl 18
    private const val MAX_SIZE = 1L shl 24
    private const val MAX_NUMBERS = 1L shl 32
    private const val MAX_BASES = 4
    private const val MAX_TEMPLATE_BYTES = 16L shl 20
    private const val MAX_RECIPE_BYTES = 1L shl 18
    private const val MAX_FILE_BYTES = 1L shl 32
    private const val MAX_FILES = 64

    fun check(manifest: SlimManifest) {
        if (manifest.low < 1 || manifest.low > manifest.high || manifest.high > MAX_PERMILLE) {
            refuse("bad-range", "trained from ${manifest.low} to ${manifest.high} permille")
        }
        hash(manifest.checkpointSha256, "the checkpoint")
        images(manifest.calibration)
        images(manifest.ranges)
        inputs(manifest.inputs)
        parts(manifest.parts)
        masters(manifest)
        nets(manifest)
        ascending(manifest.variants.map { it.id }, "duplicate-variant", "variant-order", "variant")
        for (variant in manifest.variants) variant(variant, manifest)
        bases(manifest)
    }

    private fun hash(value: String?, what: String) {
        if (value != null && !Names.isHex(value, 64)) {
            refuse("bad-hash", "the hash of $what is '${value.take(80)}', expected 64 lower-case hex digits")
        }
    }

    private fun <T : Comparable<T>> ascending(items: List<T>, duplicate: String, order: String, what: String) {
        for (index in 1 until items.size) {
            val compared = items[index - 1].compareTo(items[index])
            if (compared == 0) refuse(duplicate, "$what ${items[index]} stands twice")
            if (compared > 0) refuse(order, "$what ${items[index]} stands after ${items[index - 1]}")
        }
    }

    private fun distinct(names: List<String>, rule: String, what: String) {
        if (names.mapTo(HashSet(), Names::lower).size < names.size) {
            refuse(rule, "two ${what}s have the same name (upper and lower case count as the same)")
        }
    }

    private fun images(images: Images?) {
        if (images == null) return
        hash(images.dataSha256, "the images")
        if (images.images < 1) refuse("bad-calibration", "statistics of ${images.images} images")
    }

    private fun sizes(shape: List<Int>, least: Int) = shape.size in least..8 && shape.all { it in 1..MAX_SIZE }

    private fun inputs(inputs: List<InputInfo>) {
        if (inputs.isEmpty()) refuse("bad-input", "the bundle describes no input")
        for (info in inputs) {
            if (!Names.isInputId(info.id)) refuse("bad-name", "an input cannot be called '${info.id.take(80)}'")
            val names = info.tensors.map { it.name }
            if (names.isEmpty() || names.toSet().size < names.size) {
                refuse("bad-input", "input ${info.id} has no tensors, or two with one name")
            }
            for (tensor in info.tensors) {
                if ((tensor.image == null) == (tensor.tensor == null)) {
                    refuse("bad-input", "input ${info.id} holds what is neither an image nor a plain tensor")
                }
                if (tensor.tensor != null && !sizes(tensor.tensor.shape, 1)) {
                    refuse("bad-input", "a tensor of shape ${tensor.tensor.shape.take(9)}")
                }
            }
        }
        ascending(inputs.map { it.id }, "duplicate-input", "input-order", "input")
    }

    private fun parts(parts: List<Part>) {
        if (parts.isEmpty()) refuse("bad-part", "the bundle has no parts")
        for (part in parts) {
            if (!Names.isName(part.name)) refuse("bad-name", "a part cannot be called '${part.name.take(200)}'")
            if (part.size !in 1..MAX_SIZE) refuse("bad-part", "part '${part.name}' has ${part.size} positions")
        }
        distinct(parts.map { it.name }, "duplicate-part", "part")
    }

    private fun masters(manifest: SlimManifest) {
        val masters = manifest.masters
        if (masters.isEmpty()) refuse("bad-master", "the net has no masters")
        for (master in masters) {
            if (!Names.isName(master.name)) refuse("bad-name", "a master cannot be called '${master.name.take(200)}'")
            hash(master.sha256, master.name)
            hash(master.stepSha256, master.name)
            broken(master, manifest.parts)?.let { refuse("bad-master", "master '${master.name}': $it") }
        }
        distinct(masters.map { it.name }, "duplicate-master", "master")
        val earlier = HashMap<String, Master>()
        for (master in masters) {
            if (master.of == null) {
                earlier[master.name] = master
                continue
            }
            val shared = earlier[master.of]
            if (shared == null || master.role == Role.OWN || !alike(shared, master, manifest.parts)) {
                refuse("bad-master", "'${master.name}' cannot share the tensor of '${master.of.take(200)}'")
            }
        }
        val named = masters.associateBy { it.name }
        for (master in masters) {
            val bias = named[master.bias ?: continue]
            if (bias == null || !isBias(bias, master, manifest.parts)) {
                refuse("bad-master", "'${master.bias.take(200)}' is no bias for '${master.name}'")
            }
        }
    }

    private fun isBias(bias: Master, master: Master, parts: List<Part>): Boolean =
        bias.role == Role.TENSOR &&
            (bias.dtype == MasterType.F32 || bias.dtype == MasterType.F16) &&
            bias.axes.size == 1 &&
            bias.fullShape(parts)[0] == master.fullOutputs(parts)

    /** Whether two masters may share a tensor. */
    private fun alike(one: Master, other: Master, parts: List<Part>): Boolean {
        if (one.role != other.role || one.dtype != other.dtype) return false
        if (!one.fullShape(parts).contentEquals(other.fullShape(parts))) return false
        val stepped = one.role == Role.WEIGHT && one.dtype == MasterType.I8
        return !stepped || (one.rows == other.rows && one.groups == other.groups)
    }

    /** What is wrong with a master's shape, or with what it says of itself. */
    private fun broken(master: Master, parts: List<Part>): String? {
        if (master.axes.size !in 1..6 || master.axes.any { it.isEmpty() }) {
            return "${master.axes.size} axes, or one without parts"
        }
        if (master.axes.any { axis -> axis.any { it !in parts.indices } }) return "a part that is not there"
        val shape = master.fullShape(parts)
        if (shape.any { it > MAX_SIZE } || product(shape) > MAX_NUMBERS) return "shape ${shape.contentToString()}"
        if ((master.sha256 == null) != (master.role == Role.OWN || master.of != null)) {
            return "a hash is missing, or too many"
        }
        val steps = master.role == Role.WEIGHT && master.dtype == MasterType.I8 && master.of == null
        if ((master.stepSha256 != null) != steps) return "steps go with int8 weights, and with nothing else"
        return if (master.role == Role.WEIGHT) brokenWeight(master, shape) else brokenOther(master)
    }

    /** The product, or any number above [MAX_NUMBERS] where it is above that. */
    private fun product(shape: LongArray): Long {
        var product = 1L
        for (length in shape) {
            product *= length // at most 2^32 times 2^24
            if (product > MAX_NUMBERS) return product
        }
        return product
    }

    private fun brokenWeight(master: Master, shape: LongArray): String? {
        if (master.dtype == MasterType.I32 || shape.size < 2 || master.rows !in 0..1) {
            return "a weight of ${master.dtype.text}, ${shape.size} axes, rows along ${master.rows}"
        }
        if (master.groups < 1 || master.groups > shape[0] || shape[0] % master.groups != 0L) {
            return "${shape[0]} rows in ${master.groups} groups"
        }
        if (master.shift && master.bias != null) return "a shift and a bias of its own"
        if (master.dtype == MasterType.I8 && (master.integers != Integers.SHARED || master.inScale)) {
            return "int8 masters have shared integers and no in_scale"
        }
        if (master.correction && (master.integers == Integers.NONE || !(master.shift || master.bias != null))) {
            return "corrections of a bias that is not there"
        }
        return null
    }

    private fun brokenOther(master: Master): String? {
        val plain = master.rows == 0 && master.groups == 1 && master.bias == null && master.integers == Integers.NONE
        if (!plain || master.inScale || master.scale || master.shift || master.correction) {
            return "only weights are scaled, grouped, biased or quantised"
        }
        return if (master.role == Role.OWN && master.dtype != MasterType.F32) "own numbers are f32" else null
    }

    private fun nets(manifest: SlimManifest) {
        if (manifest.nets.isEmpty()) refuse("no-net", "the bundle holds no net")
        val entries = manifest.masters.sumOf { master -> master.axes.sumOf { it.size.toLong() } }
        if (entries * manifest.nets.size > MAX_CUT_ENTRIES) {
            refuse("too-many-values", "${manifest.nets.size} nets times $entries parts along axes")
        }
        val widths = HashSet<Int>()
        for (net in manifest.nets) {
            names(net)
            for (width in net.widths) {
                if (!widths.add(width)) refuse("duplicate-net", "a width of net ${net.id} stands twice")
            }
            hash(net.foldSha256, net.id)
            hash(net.quantSha256, net.id)
            if (net.params < 0) refuse("bad-net", "net ${net.id} has ${net.params} parameters")
            cut(net, manifest)
        }
        ascending(manifest.nets.map { it.id }, "duplicate-net", "net-order", "net")
        val different = manifest.nets.mapTo(HashSet()) { Triple(it.cut, it.foldSha256, it.quantSha256) }
        if (different.size < manifest.nets.size) {
            refuse("duplicate-net", "two nets are the same: their widths are names of one")
        }
    }

    private fun names(net: Net) {
        if (net.widths.isEmpty()) {
            if (!Names.isLabel(net.id)) refuse("bad-name", "a net cannot be called '${net.id.take(80)}'")
            return
        }
        if (net.widths.any { it !in 1..MAX_PERMILLE }) {
            refuse("bad-net", "net '${net.id.take(80)}' has a width outside 1 to $MAX_PERMILLE")
        }
        ascending(net.widths, "duplicate-net", "net-order", "width of net '${net.id.take(80)}'")
        if (net.id != net.widths[0].toString().padStart(4, '0')) {
            refuse("bad-net", "the net of width ${net.widths[0]} is called '${net.id.take(80)}'")
        }
    }

    private fun cut(net: Net, manifest: SlimManifest) {
        val parts = manifest.parts
        if (net.cut.size != parts.size) refuse("bad-cut", "net ${net.id} cuts ${net.cut.size} of ${parts.size} parts")
        for (index in parts.indices) {
            if (net.cut[index] !in (if (parts[index].optional) 0 else 1)..parts[index].size) {
                refuse("bad-cut", "net ${net.id} uses ${net.cut[index]} positions of '${parts[index].name}'")
            }
        }
        val cuts = manifest.masters.map { MasterCut.of(it, parts, net.cut) }
        val named = cuts.associateBy { it.master.name }
        for (cut in cuts) {
            val bias = named[cut.master.bias ?: continue]!!
            if (bias.shape[0].toLong() != cut.outputs) {
                refuse("bad-cut", "at net ${net.id} the bias of '${cut.master.name}' does not fit")
            }
        }
        val numbers = Fold.numbers(cuts)
        if (numbers > MAX_FOLD_NUMBERS) refuse("inflate-limit", "net ${net.id} has a fold of $numbers numbers")
        if (net.quantSha256 != null && Quant.bytes(cuts) > MAX_QUANT_BYTES) {
            refuse("inflate-limit", "net ${net.id} has a quant of ${Quant.bytes(cuts)} bytes")
        }
        if ((numbers > 0) != (net.foldSha256 != null)) {
            refuse("bad-fold", "net ${net.id} must have a fold exactly when there is something in it")
        }
    }

    private fun variant(variant: Variant, manifest: SlimManifest) {
        val id = variant.id
        if (!Names.isVariantId(id) || !id.startsWith("${variant.target}-")) {
            refuse("bad-name", "a variant of '${variant.target.take(80)}' cannot be called '${id.take(80)}'")
        }
        if (!Names.isSuffix(variant.suffix)) refuse("bad-name", "'${variant.suffix.take(80)}' is not a suffix")
        val info =
            manifest.input(variant.input)
                ?: refuse("bad-variant", "variant $id takes input '${variant.input.take(80)}', which is not there")
        if (variant.inputs.map { it.name } != info.tensors.map { it.name }) {
            refuse("bad-variant", "variant $id has other inputs than input ${info.id}")
        }
        val outputs = variant.outputs.map { it.name }
        if (outputs.isEmpty() || outputs.toSet().size < outputs.size) {
            refuse("bad-variant", "variant $id has no outputs, or two with one name")
        }
        for (tensor in variant.inputs) tensor(tensor, id)
        for (tensor in variant.outputs) tensor(tensor, id)
        if (variant.artifacts.isEmpty()) refuse("bad-variant", "variant $id has no artifact")
        ascending(variant.artifacts.map { it.net }, "duplicate-artifact", "artifact-order", "artifact of $id")
        for (artifact in variant.artifacts) {
            if (manifest.net(artifact.net) == null) {
                refuse("unknown-net", "variant $id has an artifact of net '${artifact.net.take(80)}'")
            }
            artifact(artifact, variant)
        }
    }

    private fun tensor(tensor: TensorInfo, variant: String) {
        if (!sizes(tensor.shape, 0)) refuse("bad-variant", "$variant has a tensor of shape ${tensor.shape.take(9)}")
        val bits = tensor.quantised?.scaleBits ?: return
        val scale = if (Names.isHex(bits, 8)) Float.fromBits(bits.toLong(16).toInt()) else Float.NaN
        if (!(scale > 0 && scale < Float.POSITIVE_INFINITY)) {
            refuse("bad-variant", "$variant has a tensor with scale '${bits.take(20)}'")
        }
    }

    private fun bases(manifest: SlimManifest) {
        val bases = HashMap<String, String?>()
        for (variant in manifest.variants) {
            for (artifact in variant.artifacts) bases[artifactId(variant.id, artifact.net)] = artifact.base
        }
        for ((id, first) in bases) {
            var base = first
            var steps = 0
            while (base != null) {
                steps++
                if (base !in bases || steps > MAX_BASES) refuse("bad-base", "$id cannot build on '${base.take(80)}'")
                base = bases[base]
            }
        }
    }

    private fun artifact(artifact: ArtifactEntry, variant: Variant) {
        val what = "artifact ${variant.id}/${artifact.net}"
        if (artifact.files.size !in 1..(if (variant.directory) MAX_FILES else 1)) {
            refuse("bad-artifact", "$what has ${artifact.files.size} files")
        }
        for (file in artifact.files) {
            path(file.path, what, longest = if (variant.directory) 16 else 1)
            hash(file.sha256, what)
            if (file.bytes !in 0..MAX_FILE_BYTES) refuse("bad-artifact", "$what: a file of ${file.bytes} bytes")
        }
        ascending(artifact.files.map { it.path }, "bad-path", "bad-path", "file of $what")
        val lower = artifact.files.mapTo(HashSet()) { Names.lower(it.path) }
        if (lower.size < artifact.files.size || lower.any { it.foldersIn(lower) }) {
            refuse("bad-path", "$what: one file's path is another's, or its folder's")
        }
        hash(artifact.templateSha256, what)
        hash(artifact.recipeSha256, what)
        if (artifact.templateBytes !in 1..minOf(MAX_TEMPLATE_BYTES, artifact.totalBytes)) {
            refuse("inflate-limit", "$what: a template of ${artifact.templateBytes} bytes")
        }
        if (artifact.recipeBytes !in 1..MAX_RECIPE_BYTES) {
            refuse("inflate-limit", "$what: a recipe of ${artifact.recipeBytes} bytes")
        }
        if (artifact.explainedBytes < 0 || artifact.literalBytes < 0 || artifact.macs < 0) {
            refuse("bad-artifact", "$what: negative bytes or multiply-adds")
        }
        artifact.quality?.let { quality(it, what) }
    }

    /** Whether a folder of this path is itself one of [paths]. */
    private fun String.foldersIn(paths: Set<String>): Boolean {
        var slash = indexOf('/')
        while (slash >= 0) {
            if (substring(0, slash) in paths) return true
            slash = indexOf('/', slash + 1)
        }
        return false
    }

    private fun path(path: String, what: String, longest: Int) {
        val names = path.split('/')
        if (names.size > longest || !names.all(Names::isPathName)) {
            refuse("bad-path", "$what has a file '${path.take(200)}'")
        }
    }

    private fun quality(quality: Quality, what: String) {
        hash(quality.dataSha256, what)
        val decimals =
            CanonicalJson.isDecimal(quality.value) && quality.agreement?.let(CanonicalJson::isDecimal) != false
        if (quality.count < 1 || !decimals) {
            refuse("bad-artifact", "$what has a quality that is not a decimal, or of ${quality.count} samples")
        }
    }
}
