package dev.edgeslim.format

import dev.edgeslim.OutputException
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.channels.OverlappingFileLockException
import java.nio.file.FileAlreadyExistsException
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.Path
import java.nio.file.StandardCopyOption
import java.nio.file.StandardOpenOption
import kotlin.random.Random

/**
 * Files appear whole or not at all.
 *
 * ```
 * a file        .<name>.<random>.part, locked ─► forced to the disk ─► renamed
 * a directory   .<name>.<random>.part ─► what was there aside as .<name>.<random>.old ─► renamed ─► the old removed
 * ```
 *
 * A killed process leaves the old or the new, and a part beside it; the next writer of the same file removes parts that
 * nobody holds a lock on.
 */
internal object Output {
    private const val PART = ".part"
    private const val OLD = ".old"

    fun refusal(path: Path, error: IOException): OutputException =
        OutputException("cannot write $path: ${error.message ?: error.javaClass.simpleName}", cause = error)

    private fun exists(path: Path): Boolean = Files.exists(path, LinkOption.NOFOLLOW_LINKS)

    private fun parent(path: Path): Path = path.toAbsolutePath().parent

    /**
     * Whether [path] could be written, before the work whose result it will be. Throws [OutputException].
     *
     * @param ours the result is a directory of these files; only one that holds nothing else is replaced. Null: a file.
     */
    fun checkFree(path: Path, overwrite: Boolean, ours: Set<String>?) {
        if (exists(path)) {
            if (!overwrite) throw OutputException("$path exists", hint = "allow it to be overwritten")
            if (ours == null) checkReplaceable(path) else checkOurs(path, ours)
        }
        if (!Files.isDirectory(parent(path))) {
            throw OutputException("cannot write $path: no folder ${parent(path)}", hint = "make the folder first")
        }
    }

    private fun checkReplaceable(path: Path) {
        if (Files.isDirectory(path)) throw OutputException("cannot write $path: it is a directory")
        if (!Files.isRegularFile(path) && !Files.isSymbolicLink(path)) {
            throw OutputException("cannot replace $path: it is no regular file")
        }
    }

    private fun checkOurs(path: Path, ours: Set<String>) {
        if (!Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)) {
            throw OutputException("cannot replace $path: it is not a directory")
        }
        foreign(path, ours)?.let {
            throw OutputException(
                "cannot replace $path: it holds $it, which is none of edgeslim's files",
                hint = "choose another name, or remove it yourself",
            )
        }
    }

    /** A file (or link) in the directory [path] that is none of [ours]; null where there is none. */
    private fun foreign(path: Path, ours: Set<String>): String? =
        Files.walk(path).use { files ->
            val names =
                files
                    .iterator()
                    .asSequence()
                    .filter { !Files.isDirectory(it, LinkOption.NOFOLLOW_LINKS) }
                    .map { path.relativize(it).toString().replace(File.separatorChar, '/') }
            names.firstOrNull { it !in ours }
        }

    /** Whether [bytes] more fit beside [path]: a bundle of a few kilobytes may rebuild to gigabytes. */
    fun checkSpace(path: Path, bytes: Long) {
        val free = parent(path).toFile().usableSpace
        if (bytes > free) {
            throw OutputException(
                "cannot write $path: it has $bytes bytes, $free are free",
                hint = "free some space or choose another folder",
            )
        }
    }

    private fun beside(path: Path, suffix: String): Path =
        parent(path).resolve(".${path.fileName}.${Random.nextLong().toULong().toString(36)}$suffix")

    /** A file that becomes [path] when it is committed. Throws [OutputException]. */
    fun file(path: Path, overwrite: Boolean): FileSink {
        checkFree(path, overwrite, ours = null)
        try {
            removeLeftovers(path)
            return PartFile(path, overwrite)
        } catch (error: IOException) {
            throw refusal(path, error)
        }
    }

    /** As [file], inside a directory that is being filled: no lock, no leftovers. */
    fun inside(folder: Path, relative: String): FileSink {
        val path = folder.resolve(relative)
        try {
            Files.createDirectories(path.parent)
            return PartFile(path, overwrite = false)
        } catch (error: IOException) {
            throw refusal(path, error)
        }
    }

    private class PartFile(private val path: Path, private val overwrite: Boolean) : FileSink {
        private val part = beside(path, PART)
        private val channel =
            FileChannel.open(part, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE).also { it.tryLock() }

        override fun write(bytes: ByteArray, offset: Int, count: Int) {
            try {
                val buffer = ByteBuffer.wrap(bytes, offset, count)
                while (buffer.hasRemaining()) channel.write(buffer)
            } catch (error: IOException) {
                throw refusal(path, error)
            }
        }

        override fun commit() {
            try {
                channel.force(true)
                channel.close()
                if (overwrite) {
                    Files.move(part, path, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING)
                } else {
                    renameNew()
                }
            } catch (error: FileAlreadyExistsException) {
                throw OutputException("$path exists", hint = "allow it to be overwritten", cause = error)
            } catch (error: IOException) {
                throw refusal(path, error)
            }
        }

        /** A rename that fails where [path] came into being meanwhile. */
        private fun renameNew() {
            try {
                Files.createLink(path, part)
            } catch (error: FileAlreadyExistsException) {
                throw error
            } catch (_: IOException) { // a file system, or an Android, without hard links
                if (exists(path)) throw FileAlreadyExistsException(path.toString())
                Files.move(part, path, StandardCopyOption.ATOMIC_MOVE)
            } catch (_: UnsupportedOperationException) {
                if (exists(path)) throw FileAlreadyExistsException(path.toString())
                Files.move(part, path, StandardCopyOption.ATOMIC_MOVE)
            }
        }

        override fun close() {
            try {
                channel.close()
                Files.deleteIfExists(part)
            } catch (error: IOException) {
                throw refusal(path, error)
            }
        }
    }

    private fun removeLeftovers(path: Path) {
        for (part in siblings(path, PART)) {
            if (Files.isDirectory(part, LinkOption.NOFOLLOW_LINKS)) continue
            try {
                FileChannel.open(part, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS).use { channel ->
                    if (channel.tryLock() != null) Files.deleteIfExists(part)
                }
            } catch (_: IOException) { // it has just gone, or is not ours
            } catch (_: OverlappingFileLockException) { // this process writes it
            }
        }
    }

    private fun siblings(path: Path, suffix: String): List<Path> {
        val names = parent(path).toFile().list() ?: return emptyList()
        return names.filter { it.startsWith(".${path.fileName}.") && it.endsWith(suffix) }.map(parent(path)::resolve)
    }

    /**
     * Fills a new directory by [fill] and puts it at [path], whole or not at all. Throws [OutputException].
     *
     * @param ours the files it is made of, as paths inside it.
     */
    fun directory(path: Path, overwrite: Boolean, ours: Set<String>, fill: (Path) -> Unit) {
        recover(path, ours)
        checkFree(path, overwrite, ours)
        val part = beside(path, PART)
        try {
            Files.createDirectory(part)
            fill(part)
            checkFree(path, overwrite, ours)
            if (exists(path)) {
                val old = beside(path, OLD)
                Files.move(path, old, StandardCopyOption.ATOMIC_MOVE)
                Files.move(part, path, StandardCopyOption.ATOMIC_MOVE)
                remove(old.toFile())
            } else {
                Files.move(part, path, StandardCopyOption.ATOMIC_MOVE)
            }
        } catch (error: IOException) {
            throw refusal(path, error)
        } finally {
            remove(part.toFile())
            recover(path, ours)
        }
    }

    /** Puts back a directory that a writer had moved aside and did not replace. */
    private fun recover(path: Path, ours: Set<String>) {
        if (exists(path)) return
        val old =
            siblings(path, OLD).filter { Files.isDirectory(it, LinkOption.NOFOLLOW_LINKS) && foreign(it, ours) == null }
        val last = old.maxByOrNull { Files.getLastModifiedTime(it) } ?: return
        Files.move(last, path, StandardCopyOption.ATOMIC_MOVE)
    }

    /** Removes a file or a directory with all that is in it, following no link. */
    fun remove(file: File) {
        if (Files.isDirectory(file.toPath(), LinkOption.NOFOLLOW_LINKS)) file.listFiles()?.forEach(::remove)
        file.delete()
    }
}
