package dev.edgeslim.session

import dev.edgeslim.OutputException
import dev.edgeslim.format.FileEntry
import dev.edgeslim.format.FormatException
import dev.edgeslim.format.Output
import dev.edgeslim.format.Sha256
import java.io.Closeable
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.NoSuchFileException
import java.nio.file.StandardCopyOption
import java.nio.file.attribute.BasicFileAttributes
import kotlin.random.Random

/** What tells a file from one that was written into or replaced since. */
internal data class Identity(val key: Any?, val bytes: Long, val modifiedMs: Long) {
    companion object {
        /** Null where there is no such file. */
        fun of(file: File): Identity? =
            try {
                val found =
                    Files.readAttributes(file.toPath(), BasicFileAttributes::class.java, LinkOption.NOFOLLOW_LINKS)
                if (found.isRegularFile) Identity(found.fileKey(), found.size(), found.lastModifiedTime().toMillis())
                else null
            } catch (_: IOException) {
                null
            }
    }
}

/** A verified artifact at [root]. */
internal class CachedArtifact(
    val root: File,
    private val seals: List<Pair<File, Identity>>,
    private val release: () -> Unit,
) : Closeable {
    private var closed = false

    /**
     * Whether nobody has written into the files that were verified. Removed or replaced ones are as they were where a
     * runtime has them open. Allocates nothing while that is plain to see.
     */
    fun intact(): Boolean {
        for (at in seals.indices) {
            val (file, identity) = seals[at]
            if (file.length() == identity.bytes && file.lastModified() == identity.modifiedMs) continue
            val now = Identity.of(file)
            if (now != null && now.key == identity.key && now != identity) return false
        }
        return true
    }

    /** Whether they are also still what the paths name, so that a runtime that opened the paths opened them. */
    fun inPlace(): Boolean = seals.all { (file, identity) -> Identity.of(file) == identity }

    override fun close() {
        if (closed) return
        closed = true
        release()
    }
}

/**
 * Rebuilt artifacts on the disk, keyed by their hash, shared by any number of processes.
 *
 * ```
 * artifacts/<key>/model.pte   whole, or not there; its modification time is when it was last used
 * artifacts/.<key>.*.part     being built; when nobody holds the lock it is a leftover and is removed
 *
 * ensure(plan) ─► there? ─► size, then hash (once per process and file) ─► CachedArtifact
 *                   └ no, or broken ─► lock ─► build beside ─► rename ─► look again
 * ```
 *
 * Only names that could be ours are ever removed. No content is trusted: a file is hashed when this process first meets
 * it and whenever its size, inode or time has changed.
 *
 * @param maxBytes most that is kept; what is in use here may be more.
 */
internal class ArtifactCache(
    private val own: OwnFolder,
    private val maxBytes: Long,
    private val clock: Clock,
    private val lockWaitMs: Long = 10_000,
    private val freeBytes: (File) -> Long = File::getUsableSpace,
) {
    private val verified = HashMap<String, Identity>()
    private val pins = HashMap<String, Int>()

    /** How many broken artifacts this process has found and rebuilt. */
    var repaired: Int = 0
        private set

    val folder: File
        get() = own.path

    private val artifacts: File
        get() = own.inside("artifacts")

    private class NoSpaceException(message: String) : IOException(message)

    /**
     * The artifact, verified; built first where it is missing or broken.
     *
     * Throws [OutputException]: the folder cannot be written (a full disk is first emptied of what nobody here uses),
     * or what is in it does not stay as it is. [FormatException]: [build] threw it, every time.
     *
     * @param build writes the artifact at a path that does not exist, in an empty folder, and checks its hash.
     */
    @Synchronized
    fun ensure(plan: ArtifactPlan, build: (File) -> Unit): CachedArtifact {
        var emptied = false
        var mismatch: FormatException? = null
        for (attempt in 0 until ATTEMPTS) {
            try {
                return find(plan) ?: findOrBuild(plan, build) ?: continue
            } catch (error: FormatException) {
                if (error.rule != "hash-mismatch") throw error
                mismatch = error // written into while it was built? A damaged bundle gives the same again
            } catch (_: NoSuchFileException) { // the folder was removed while we were in it
            } catch (_: FileNotFoundException) {} catch (error: IOException) {
                if (emptied || error !is NoSpaceException) throw refusal(error)
                emptied = true
                Locks.alone(folder, lockWaitMs) { makeRoom(maxBytes, keep = plan.key) }
            }
        }
        if (mismatch != null) throw mismatch
        throw OutputException("cannot keep files in the cache $folder: they vanish or are changed at once")
    }

    private fun refusal(error: IOException) =
        OutputException(
            "cannot write the cache $folder: ${error.message}",
            hint = "choose another folder",
            cause = error,
        )

    /** Nothing is kept here any more by this process. */
    fun close() {
        own.close()
    }

    /** The artifact if it is there and right. Nothing is repaired here. */
    private fun find(plan: ArtifactPlan): CachedArtifact? {
        if (!own.usable()) return null
        val root = File(File(artifacts, plan.key), plan.name)
        if (plan.variant.directory && names(root) != plan.files.mapTo(HashSet()) { it.path }) return null
        val seals = ArrayList<Pair<File, Identity>>()
        for (file in plan.files) {
            val place = plan.place(root, file)
            val identity = Identity.of(place) ?: return null
            if (!right(plan.key, file, place, identity)) return null
            seals.add(Pair(place, identity))
        }
        root.parentFile.setLastModified(clock.unixS() * 1000) // somebody else's folder, or gone already: still readable
        pins[plan.key] = (pins[plan.key] ?: 0) + 1
        return CachedArtifact(root, seals) { unpin(plan.key) }
    }

    @Synchronized
    private fun unpin(key: String) {
        pins[key] = (pins[key] ?: 0) - 1
    }

    private fun right(key: String, file: FileEntry, place: File, identity: Identity): Boolean {
        if (identity.bytes != file.bytes) return false
        val name = "$key/${file.path}"
        if (verified[name] == identity) return true
        val digest = Sha256.digest()
        try {
            val chunk = ByteArray(1 shl 16)
            place.inputStream().use { input ->
                while (true) {
                    val count = input.read(chunk)
                    if (count < 0) break
                    digest.update(chunk, 0, count)
                }
            }
        } catch (_: IOException) { // unreadable, a failing disk
            return false
        }
        if (Sha256.hex(digest) != file.sha256 || Identity.of(place) != identity) return false
        verified[name] = identity
        return true
    }

    private fun names(root: File): Set<String> =
        root
            .walkTopDown()
            .filter { !it.isDirectory }
            .mapTo(HashSet()) { it.relativeTo(root).path.replace(File.separatorChar, '/') }

    private fun findOrBuild(plan: ArtifactPlan, build: (File) -> Unit): CachedArtifact? {
        own.make()
        Files.createDirectories(artifacts.toPath())
        return Locks.alone(folder, lockWaitMs) { alone ->
            find(plan) // another process may have built it while we waited
            ?: run {
                    if (remove(plan.key)) repaired++
                    clearLeftovers(everything = alone)
                    makeRoom(plan.sizeBytes, keep = plan.key)
                    checkSpace(plan.sizeBytes)
                    construct(plan, build)
                    find(plan) // built and checked: null where it was removed or written into since
                }
        }
    }

    private fun construct(plan: ArtifactPlan, build: (File) -> Unit) {
        val part = File(artifacts, ".${plan.key}.${random()}$UNFINISHED")
        try {
            Files.createDirectory(part.toPath())
            val root = File(part, plan.name)
            try {
                build(root)
            } catch (error: OutputException) {
                throw if (part.isDirectory) error else FileNotFoundException(part.path)
            }
            for (file in plan.files) plan.place(root, file).setReadOnly() // nobody has a reason to write into it
            try {
                Files.move(part.toPath(), File(artifacts, plan.key).toPath(), StandardCopyOption.ATOMIC_MOVE)
            } catch (_: IOException) { // another process without a lock was faster: its copy is as good
            }
        } finally {
            Output.remove(part)
        }
    }

    /** Takes an artifact away: first its name, then its bytes. False where there is none. */
    private fun remove(key: String): Boolean {
        val gone = File(artifacts, ".$key.${random()}$REMOVED")
        try {
            Files.move(File(artifacts, key).toPath(), gone.toPath(), StandardCopyOption.ATOMIC_MOVE)
        } catch (_: NoSuchFileException) {
            return false
        }
        Output.remove(gone)
        return true
    }

    /** What killed processes left; the holder of the lock knows that nobody is at work. */
    private fun clearLeftovers(everything: Boolean) {
        val old = (clock.unixS() - LEFTOVER_S) * 1000
        for (file in artifacts.listFiles().orEmpty()) {
            if (isLeftover(file.name) && (everything || file.lastModified() < old)) Output.remove(file)
        }
    }

    /** Removes what was used longest ago until [needed] more bytes fit. */
    private fun makeRoom(needed: Long, keep: String) {
        val entries = artifacts.listFiles().orEmpty().filter { isKey(it.name) && it.name != keep }
        val sizes = entries.associateWith { entry -> entry.walkTopDown().filter { it.isFile }.sumOf { it.length() } }
        var total = sizes.values.sum() + needed
        for (entry in entries.sortedBy { it.lastModified() }) {
            if (total <= maxBytes) return
            if ((pins[entry.name] ?: 0) > 0) continue
            remove(entry.name)
            total -= sizes.getValue(entry)
        }
    }

    /** A bundle of a few kilobytes may rebuild to gigabytes: known before the disk is full of half a file. */
    private fun checkSpace(needed: Long) {
        val free = freeBytes(artifacts)
        if (needed > free) throw NoSpaceException("no space left for a file of $needed bytes, $free are free")
    }

    private fun random(): String = (0 until 8).map { DIGITS[Random.nextInt(16)] }.joinToString("")

    private fun isKey(name: String) = name.length == 64 && name.all { it in DIGITS }

    private fun isLeftover(name: String): Boolean {
        val end = if (name.endsWith(UNFINISHED)) UNFINISHED else REMOVED
        val middle = name.removePrefix(".").removeSuffix(end)
        return name.startsWith(".") &&
            name.endsWith(end) &&
            middle.length == 73 &&
            isKey(middle.take(64)) &&
            middle[64] == '.'
    }

    private companion object {
        const val ATTEMPTS = 5
        const val LEFTOVER_S = 3600L
        const val UNFINISHED = ".part"
        const val REMOVED = ".gone"
        const val DIGITS = "0123456789abcdef"
    }
}
