package dev.edgeslim.format

import dev.edgeslim.UsageException
import dev.edgeslim.WidthException
import dev.edgeslim.control.Width
import dev.edgeslim.json.StrictJson
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.Path
import java.nio.file.StandardOpenOption

/** How deep [SlimBundle.check] looks. */
public enum class Depth {
    /** Every part is read and its hash compared. */
    PARTS,

    /** Every file is rebuilt too, into nothing. A bundle that passes is intact. */
    FILES,
}

/** An artifact with its variant. */
public class Addressed(public val variant: Variant, public val artifact: ArtifactEntry) {
    /** `<variant>/<net>`. */
    public val id: String
        get() = artifactId(variant.id, artifact.net)
}

/** An artifact that stands at [path] now, a file or a directory. */
public class RebuiltArtifact(public val path: File, public val id: String, public val files: List<FileEntry>) {
    /** `{"path", "artifact", "files": [{"path", "bytes", "sha256"}]}`. */
    public fun toJson(): String {
        val listed = files.map { mapOf("path" to it.path, "bytes" to it.bytes, "sha256" to it.sha256) }
        return StrictJson.canonical(mapOf("path" to path.path, "artifact" to id, "files" to listed))
    }
}

/**
 * An open bundle, valid by construction: every rule about header and manifest was checked, and no weight has been read.
 *
 * ```
 * file ─► open ─► artifact(…) ─► rebuild(id, out)
 *          └────► check(depth)
 * ```
 *
 * The file is mapped. Threads may rebuild at the same time. A mapping ends when nothing refers to it any more: keep one
 * bundle open, not many.
 *
 * @property manifest what the bundle holds.
 */
public class SlimBundle private constructor(private val stored: StoredTensors, public val manifest: SlimManifest) :
    Closeable {
    private val steps = Steps(stored)

    /** This reader's limit for the bytes of one artifact's files; larger ones are refused as `too-large`. */
    public var maxArtifactBytes: Long = DEFAULT_MAX_ARTIFACT_BYTES

    /** SHA-256 of the manifest: one per content, and what a bundle is known by. */
    public val manifestSha256: String
        get() = stored.header.manifestSha256

    /** All artifacts in the manifest's order; of [target] (or of the variant of that id) where it is not null. */
    @JvmOverloads
    public fun artifacts(target: String? = null): List<Addressed> =
        manifest.variants
            .filter { target == null || it.target == target || it.id == target }
            .flatMap { variant -> variant.artifacts.map { Addressed(variant, it) } }

    /**
     * The artifact with the id `<variant>/<net>`.
     *
     * @throws UsageException there is none.
     */
    public fun artifact(id: String): Addressed {
        val variant = manifest.variant(id.substringBefore('/'))
        val artifact = variant?.artifact(id.substringAfter('/', ""))
        if (variant == null || artifact == null) {
            throw UsageException("no artifact '${id.take(200)}' in the bundle; it has ${listed(artifacts())}")
        }
        return Addressed(variant, artifact)
    }

    /**
     * The only artifact of the net called [width] (its smallest width or an alias) for [target].
     *
     * @param variant its id where there are several: whole, or without the target (`fp32-224`).
     * @throws UsageException no such target or variant, or several artifacts fit.
     * @throws WidthException no artifact of that width.
     */
    @JvmOverloads
    public fun artifact(target: String, width: Width, variant: String? = null): Addressed {
        val there = artifacts(target)
        if (there.isEmpty()) {
            val targets = manifest.variants.map { it.target }.distinct().sorted()
            throw UsageException("the bundle has nothing for '$target'; it has ${targets.joinToString()}")
        }
        val named =
            there.filter {
                variant == null || it.variant.id == variant || it.variant.id == "${it.variant.target}-$variant"
            }
        if (named.isEmpty()) {
            val ids = there.map { it.variant.id }.distinct()
            throw UsageException("the bundle has no variant '$variant' of $target; it has ${ids.joinToString()}")
        }
        val net = manifest.net(width)
        val found = named.filter { it.artifact.net == net?.id }
        if (found.isEmpty()) {
            val widths = named.mapNotNull { manifest.net(it.artifact.net)!!.widths.firstOrNull() }.distinct().sorted()
            throw WidthException("no width $width; there is ${widths.joinToString { Width(it).toString() }}")
        }
        if (found.size > 1) {
            throw UsageException("${found.size} artifacts fit: ${listed(found)}", hint = "name the variant, or the id")
        }
        return found[0]
    }

    private fun listed(found: List<Addressed>): String {
        val shown = found.take(12).joinToString { it.id }
        return if (found.size > 12) "$shown and ${found.size - 12} more" else shown.ifEmpty { "none" }
    }

    /**
     * Writes the exporter's file (or directory) of the artifact [id] at [out], byte for byte, whole or not at all.
     *
     * @throws UsageException no such artifact.
     * @throws dev.edgeslim.OutputException [out] exists and [overwrite] is false, or it cannot be written.
     * @throws FormatException the bundle is damaged, or the artifact is larger than [maxArtifactBytes].
     */
    @JvmOverloads
    public fun rebuild(id: String, out: File, overwrite: Boolean = false): RebuiltArtifact {
        val chosen = artifact(id)
        checkSize(chosen)
        val ours = if (chosen.variant.directory) chosen.artifact.files.mapTo(HashSet()) { it.path } else null
        Output.checkFree(out.toPath(), overwrite, ours)
        Output.checkSpace(out.toPath(), chosen.artifact.totalBytes)
        rebuilding(chosen) { rebuild ->
            if (ours != null) {
                Output.directory(out.toPath(), overwrite, ours) { folder ->
                    rebuild.run { Output.inside(folder, it.path) }
                }
            } else {
                rebuild.run { Output.file(out.toPath(), overwrite) }
            }
        }
        return RebuiltArtifact(out, id, chosen.artifact.files)
    }

    /** Rebuilds the artifact [id] into [open]'s sinks. */
    internal fun rebuild(id: String, open: (FileEntry) -> FileSink) {
        val chosen = artifact(id)
        checkSize(chosen)
        rebuilding(chosen) { it.run(open) }
    }

    private inline fun rebuilding(chosen: Addressed, action: (Rebuild) -> Unit) {
        val net = constants(manifest.net(chosen.artifact.net)!!)
        val segments = recipe(chosen, net.cuts)
        template(chosen).use { action(Rebuild(chosen.artifact.files, segments, net, it)) }
    }

    /**
     * Reads and hashes every part; at [Depth.FILES] also rebuilds every file into nothing.
     *
     * @throws FormatException the bundle is damaged.
     */
    @JvmOverloads
    public fun check(depth: Depth = Depth.PARTS) {
        for (master in manifest.masters) {
            if (master.sha256 != null) {
                val name = "master/${master.name}"
                checkHash(stored.tensor(name), master.sha256, name)
                checkFinite(stored.tensor(name), master.dtype, name)
            }
            if (master.stepSha256 != null) {
                checkHash(stored.step(master.name), master.stepSha256, "step/${master.name}")
                steps.of(MasterCut.of(master, manifest.parts, manifest.parts.map { it.size }))
            }
        }
        val nets = manifest.nets.associate { it.id to constants(it) }
        for (chosen in artifacts()) {
            val net = nets.getValue(chosen.artifact.net)
            val segments = recipe(chosen, net.cuts)
            template(chosen).use { checkTemplate(chosen, it) }
            if (depth == Depth.FILES) {
                checkSize(chosen)
                template(chosen).use { Rebuild(chosen.artifact.files, segments, net, it).run { Nowhere } }
            }
        }
    }

    private fun checkTemplate(chosen: Addressed, reader: TemplateReader) {
        val digest = Sha256.digest()
        reader.read(chosen.artifact.templateBytes) { bytes, offset, count -> digest.update(bytes, offset, count) }
        reader.finish()
        if (Sha256.hex(digest) != chosen.artifact.templateSha256)
            refuse("hash-mismatch", "template/${chosen.id} is damaged")
    }

    private fun checkSize(chosen: Addressed) {
        val bytes = chosen.artifact.totalBytes
        if (bytes > maxArtifactBytes) {
            refuse("too-large", "${chosen.id} has $bytes bytes, this reader takes $maxArtifactBytes")
        }
    }

    private fun constants(net: Net): NetConstants {
        val cuts = manifest.masters.map { MasterCut.of(it, manifest.parts, net.cut) }
        return NetConstants(stored, steps, cuts, fold(net, cuts), quant(net, cuts))
    }

    private fun fold(net: Net, cuts: List<MasterCut>): List<Fold> {
        if (net.foldSha256 == null) return Fold.split(ByteArray(0), cuts, "")
        val name = "fold/${net.id}"
        val shuffled = Deflate.inflated(stored.tensor(name), 4 * Fold.numbers(cuts), name)
        if (Sha256.hex(Fold.unshuffled(shuffled)) != net.foldSha256) damaged(name)
        return Fold.split(shuffled, cuts, name)
    }

    private fun quant(net: Net, cuts: List<MasterCut>): List<Quant?>? {
        if (net.quantSha256 == null) return null
        val name = "quant/${net.id}"
        val bytes = Quant.bytes(cuts)
        if (bytes == 0L) refuse("bad-quant", "$name belongs to a net without int8 weights")
        val content = Deflate.inflated(stored.tensor(name), bytes, name)
        if (Sha256.hex(content) != net.quantSha256) damaged(name)
        return Quant.split(content, cuts)
    }

    private fun recipe(chosen: Addressed, cuts: List<MasterCut>): List<Segment> {
        val name = "recipe/${chosen.id}"
        val artifact = chosen.artifact
        val content = Deflate.inflated(stored.tensor(name), artifact.recipeBytes, name)
        if (Sha256.hex(content) != artifact.recipeSha256) damaged(name)
        val quantised = manifest.net(artifact.net)!!.quantSha256 != null
        val segments = Recipe.decode(content, cuts, artifact.files, quantised)
        val covered = segments.sumOf { it.bytes }
        if (covered + artifact.templateBytes != artifact.totalBytes) {
            refuse("template-size", "${chosen.id}: $covered bytes of segments do not make the files with the template")
        }
        return segments
    }

    private fun template(chosen: Addressed): TemplateReader {
        val base = chosen.artifact.base?.let { template(artifact(it)) }
        val name = "template/${chosen.id}"
        try {
            return TemplateReader(stored.tensor(name), chosen.artifact.templateBytes, name, base)
        } catch (error: FormatException) {
            base?.close()
            throw error
        }
    }

    private fun damaged(name: String): Nothing =
        refuse("hash-mismatch", "$name is damaged: its SHA-256 is not the one in the bundle")

    private fun checkHash(content: ByteBuffer, expected: String, name: String) {
        if (Sha256.hex(content) != expected) damaged(name)
    }

    private fun checkFinite(content: ByteBuffer, type: MasterType, name: String) {
        if (type != MasterType.F32 && type != MasterType.F16) return
        val reader = NumberReader(content, type)
        val total = content.remaining() / (if (type == MasterType.F32) 4 else 2)
        val numbers = FloatArray(minOf(total, 1 shl 14))
        for (first in 0 until total step numbers.size) {
            val count = minOf(numbers.size, total - first)
            reader.read(first, count, numbers, 0)
            if (!NetConstants.allFinite(numbers, count)) refuse("non-finite", "$name holds a NaN or an infinity")
        }
    }

    /** Lets go of the mapping, and of the file where [open] opened it. */
    override fun close() {
        stored.close()
    }

    public companion object {
        /** 2^30. */
        public const val DEFAULT_MAX_ARTIFACT_BYTES: Long = 1L shl 30

        /**
         * Maps the bundle in [file] and checks its structure and its manifest.
         *
         * @throws FormatException it breaks a rule of FORMAT.md.
         * @throws UsageException the file cannot be read.
         */
        @JvmStatic public fun open(file: File): SlimBundle = open(file.toPath())

        /** As [open] of a file. */
        @JvmStatic
        public fun open(path: Path): SlimBundle {
            if (
                java.nio.file.Files.exists(path) && !java.nio.file.Files.isRegularFile(path)
            ) { // a pipe would be waited for
                throw UsageException("cannot read $path: it is no regular file")
            }
            val channel =
                try {
                    FileChannel.open(path, StandardOpenOption.READ)
                } catch (error: IOException) {
                    throw UsageException("cannot read $path: ${error.message}", cause = error)
                }
            try {
                return read(StoredTensors.Source(channel, 0, channel.size(), owned = true))
            } catch (error: Throwable) {
                channel.close()
                throw error
            }
        }

        /**
         * As [open] of a file, for [length] bytes from [offset] of [channel]: a bundle inside another file, such as an
         * uncompressed asset. The channel stays the caller's, and has to stay open as long as the bundle.
         */
        @JvmStatic
        public fun open(channel: FileChannel, offset: Long, length: Long): SlimBundle =
            read(StoredTensors.Source(channel, offset, length, owned = false))

        private fun read(source: StoredTensors.Source): SlimBundle {
            try {
                val stored = StoredTensors.of(source)
                return SlimBundle(stored, manifest(stored))
            } catch (error: IOException) {
                throw UsageException("cannot read the bundle: ${error.message}", cause = error)
            }
        }

        private fun manifest(stored: StoredTensors): SlimManifest {
            val header = stored.header
            val entry = header.tensors["manifest"] ?: refuse("missing-tensor", "the bundle has no manifest")
            if (entry.bytes > ManifestReader.MAX_BYTES) {
                refuse("manifest-too-large", "the manifest has ${entry.bytes} bytes")
            }
            val text = ByteArray(entry.bytes.toInt())
            stored.tensor("manifest").get(text)
            if (Sha256.hex(text) != header.manifestSha256) {
                refuse("hash-mismatch", "the manifest is damaged: its SHA-256 is not the one in the header")
            }
            val manifest = ManifestReader.read(text)
            ExpectedTensors.check(manifest, header)
            return manifest
        }
    }
}

/** Holds the tensors of a bundle against what its manifest says. */
internal object ExpectedTensors {
    private class Expected(val type: TensorType, val shape: LongArray?)

    fun check(manifest: SlimManifest, header: Header) {
        val expected = all(manifest)
        for (name in expected.keys) {
            if (name !in header.tensors) refuse("missing-tensor", "the manifest speaks of '$name', which is not there")
        }
        for ((name, found) in header.tensors) {
            val wanted = expected[name] ?: refuse("unexpected-tensor", "the manifest does not speak of '$name'")
            val fits = if (wanted.shape == null) found.shape.size == 1 else found.shape.contentEquals(wanted.shape)
            if (found.type != wanted.type || !fits) {
                refuse(
                    "tensor-mismatch",
                    "'$name' is ${found.type} ${found.shape.contentToString()}, not as it must be",
                )
            }
        }
    }

    private fun all(manifest: SlimManifest): Map<String, Expected> {
        val bytes = Expected(TensorType.U8, null)
        val found = LinkedHashMap<String, Expected>()
        found["manifest"] = bytes
        for (master in manifest.masters) {
            if (master.role != Role.OWN && master.of == null) {
                val type = TensorType.valueOf(master.dtype.name)
                found["master/${master.name}"] = Expected(type, master.fullShape(manifest.parts))
            }
            if (master.stepSha256 != null) {
                found["step/${master.name}"] = Expected(TensorType.F32, longArrayOf(master.fullOutputs(manifest.parts)))
            }
        }
        for (net in manifest.nets) {
            if (net.foldSha256 != null) found["fold/${net.id}"] = bytes
            if (net.quantSha256 != null) found["quant/${net.id}"] = bytes
        }
        for (variant in manifest.variants) {
            for (artifact in variant.artifacts) {
                val id = artifactId(variant.id, artifact.net)
                found["template/$id"] = bytes
                found["recipe/$id"] = bytes
            }
        }
        return found
    }
}
