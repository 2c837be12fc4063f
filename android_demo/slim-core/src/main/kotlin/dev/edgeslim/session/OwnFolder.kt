package dev.edgeslim.session

import dev.edgeslim.OutputException
import dev.edgeslim.format.Output
import java.io.File
import java.io.IOException
import java.nio.file.FileAlreadyExistsException
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.Path
import java.nio.file.attribute.PosixFilePermission
import java.nio.file.attribute.PosixFilePermissions

/**
 * The one folder that a session calls its own, inside whatever folder it was told to use; nothing else there is
 * touched.
 *
 * ```
 * edgeslim-session/   no link, ours, not writable for others
 *   CACHEDIR.TAG      says so (bford.info/cachedir); without it: not ours
 *   lock              Locks.kt       artifacts/  ArtifactCache.kt
 *   loading/ crashes/ Journal.kt     tables/     TableStore.kt
 * ```
 */
internal open class OwnFolder(parent: File) {
    var path: File = File(parent, NAME)
        protected set

    fun inside(name: String): File = File(path, name)

    /** Whether it is there and ours; nothing is made. */
    open fun usable(): Boolean = fault(path.toPath()) == null && Files.isRegularFile(tag(), LinkOption.NOFOLLOW_LINKS)

    private fun tag(): Path = inside(TAG).toPath()

    /**
     * The folder, made where it is missing.
     *
     * Throws [OutputException]: something of that name is not ours, or it cannot be made.
     */
    open fun make(): File {
        try {
            Files.createDirectories(path.parentFile.toPath())
            makePrivate(path.toPath())
            var fault = fault(path.toPath())
            if (fault == null && !Files.isRegularFile(tag(), LinkOption.NOFOLLOW_LINKS)) {
                if (path.list()?.all { it == TAG } == true) writeTag()
                if (!Files.isRegularFile(tag(), LinkOption.NOFOLLOW_LINKS))
                    fault = "holds files and no $TAG of edgeslim's"
            }
            if (fault != null) {
                throw OutputException("$path $fault, so nothing in it is touched", hint = "choose another folder")
            }
            return path
        } catch (error: IOException) {
            throw Output.refusal(path.toPath(), error)
        }
    }

    private fun writeTag() {
        try {
            Files.write(Files.createFile(tag()), TAG_TEXT.toByteArray())
        } catch (_: FileAlreadyExistsException) { // another process was faster
        }
    }

    /** Nothing is held. */
    open fun close() {}

    companion object {
        const val NAME: String = "edgeslim-session"
        private const val TAG = "CACHEDIR.TAG"
        private const val TAG_TEXT =
            "Signature: 8a477f597d28d172789f06886806bc55\n" +
                "# Files that edgeslim rebuilt from bundles; they may be removed at any time. See https://bford.info/cachedir/\n"

        fun makePrivate(folder: Path) {
            try {
                try {
                    val mode = PosixFilePermissions.fromString("rwx------")
                    Files.createDirectory(folder, PosixFilePermissions.asFileAttribute(mode))
                } catch (_: UnsupportedOperationException) { // Windows guards a user's folders otherwise
                    Files.createDirectory(folder)
                }
            } catch (_: FileAlreadyExistsException) {}
        }

        /** Why files in [folder] might be somebody else's; null where they cannot, or where it is not there. */
        fun fault(folder: Path, byRoot: Boolean = true): String? {
            if (!Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)) return "is no directory of its own"
            try {
                val owner = Files.getAttribute(folder, "unix:uid", LinkOption.NOFOLLOW_LINKS)
                if (owner != user() && !(byRoot && owner == 0)) return "belongs to another user (number $owner)"
                val open = setOf(PosixFilePermission.GROUP_WRITE, PosixFilePermission.OTHERS_WRITE)
                if (Files.getPosixFilePermissions(folder, LinkOption.NOFOLLOW_LINKS).any { it in open }) {
                    return "can be written by others"
                }
            } catch (_: UnsupportedOperationException) { // a system without such modes
            } catch (_: IllegalArgumentException) {} catch (_: IOException) {
                return "cannot be looked at"
            }
            return null
        }

        /** The number of this process's user. */
        fun user(): Any? = Files.getAttribute(File("/proc/self").toPath(), "unix:uid")
    }
}

/** For when the other cannot be written: the user's own folder in the temporary folder, or a fresh one. */
internal class SpareFolder(private val temporary: File) : OwnFolder(File(temporary, "edgeslim-${name()}")) {
    private var fresh: File? = null

    override fun usable(): Boolean = fault(path.parentFile.toPath(), byRoot = false) == null && super.usable()

    override fun make(): File {
        if (fresh == null) {
            try {
                makePrivate(path.parentFile.toPath())
                if (fault(path.parentFile.toPath(), byRoot = false) == null) return super.make()
            } catch (_: OutputException) { // somebody's things in the way
            } catch (error: IOException) {
                throw Output.refusal(path.toPath(), error)
            }
            try {
                fresh = Files.createTempDirectory(temporary.toPath(), "edgeslim-").toFile()
            } catch (error: IOException) {
                throw Output.refusal(temporary.toPath(), error)
            }
            path = File(fresh, NAME)
        }
        return super.make()
    }

    /** A fresh folder is nobody else's, so it goes. */
    override fun close() {
        fresh?.let(Output::remove)
    }

    private companion object {
        fun name(): String =
            try {
                user().toString()
            } catch (_: IOException) {
                "user"
            } catch (_: RuntimeException) {
                "user"
            }
    }
}
