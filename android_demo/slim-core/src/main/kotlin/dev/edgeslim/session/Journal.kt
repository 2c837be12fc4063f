package dev.edgeslim.session

import dev.edgeslim.OutputException
import dev.edgeslim.json.Fields
import dev.edgeslim.json.StrictJson
import dev.edgeslim.json.StrictJsonException
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.channels.OverlappingFileLockException
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.StandardCopyOption
import java.nio.file.StandardOpenOption
import java.util.concurrent.ConcurrentHashMap
import kotlin.random.Random

/**
 * Knows how earlier processes of this app have died. On Android 11 and newer that is
 * `ActivityManager.getHistoricalProcessExitReasons`.
 */
public fun interface ExitWitness {
    /**
     * Whether the process [pid] crashed in native code by itself since [sinceS] (Unix time). A kill by the user or the
     * system says nothing about an artifact and is none; nor is what is not known.
     */
    public fun crashed(pid: Long, sinceS: Long): Boolean
}

/** How often loading an artifact has crashed a process, and when last (Unix time). */
internal class Crashes(val count: Long, val lastS: Long) {
    /** Until when it is left out; in the past where it is not. */
    fun untilS(): Long =
        if (count < Journal.STRIKES) 0
        else lastS + Journal.PAUSES_S[minOf(count - Journal.STRIKES, Journal.PAUSES_S.size - 1L).toInt()]
}

/**
 * Artifacts whose loading takes the process down, and the rule by which they are left out (docs/session-states.md).
 *
 * ```
 * loading/<key>.<random>   written and locked before a load, removed after it; the lock dies with the process
 * crashes/<key>.json       how often loading it has crashed a process, and when last
 * ```
 *
 * Nothing here throws for a disk that cannot be written: the artifact is then loaded without a mark.
 */
internal class Journal(private val own: OwnFolder, private val clock: Clock, private val witness: ExitWitness) {
    private val loading: File
        get() = own.inside("loading")

    private val crashes: File
        get() = own.inside("crashes")

    /** Around everything that may take the process down; an exception is no crash. */
    fun <T> loading(key: String, action: () -> T): T {
        val mark = mark(key)
        try {
            return action()
        } finally {
            if (mark != null) clear(mark)
        }
    }

    private fun clear(mark: Pair<File, FileChannel>) {
        try {
            mark.first.delete()
            mark.second.close()
        } catch (_: IOException) {}
        alive.remove(mark.first.name)
    }

    private fun mark(key: String): Pair<File, FileChannel>? {
        val name = "$key.${Random.nextInt(1 shl 28).toString(16).padStart(8, '0')}"
        val unnamed = File(loading, ".$name")
        alive[name] = true
        try {
            own.make()
            Files.createDirectories(loading.toPath())
            val channel = FileChannel.open(unnamed.toPath(), StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)
            try {
                checkNotNull(channel.tryLock()) { "without locks a mark would say nothing" }
                val text = StrictJson.canonical(mapOf("pid" to pid(), "at_s" to clock.unixS()))
                channel.write(ByteBuffer.wrap(text.toByteArray()))
                channel.force(false)
                Files.move(unnamed.toPath(), File(loading, name).toPath(), StandardCopyOption.ATOMIC_MOVE)
                return Pair(File(loading, name), channel)
            } catch (error: Exception) {
                channel.close()
                unnamed.delete()
                throw error
            }
        } catch (_: IOException) {} catch (_: IllegalStateException) {} catch (_: OutputException) {}
        alive.remove(name)
        return null
    }

    /** Forgets what happened with [key] before. */
    fun succeeded(key: String) {
        record(key).delete()
    }

    /** Those that must not be tried yet. */
    fun leftOut(): Map<String, Crashes> {
        if (!own.usable()) return emptyMap()
        for (file in loading.listFiles().orEmpty()) collect(file)
        val now = clock.unixS()
        val found = HashMap<String, Crashes>()
        for (file in crashes.listFiles().orEmpty()) {
            val key = file.name.removeSuffix(".json")
            if (key == file.name || !isKey(key)) continue
            val crashes = read(file)
            if (crashes != null && now < crashes.untilS()) found[key] = crashes
        }
        return found
    }

    /** Turns the mark of a dead process into a record. */
    private fun collect(file: File) {
        val unnamed = file.name.startsWith(".")
        val name = file.name.removePrefix(".")
        val key = name.substringBefore('.')
        if (!isKey(key) || name.length != 73 || alive.containsKey(name)) return
        if (unnamed && clock.unixS() - file.lastModified() / 1000 < NEWBORN_S) return
        try {
            FileChannel.open(
                    file.toPath(),
                    StandardOpenOption.READ,
                    StandardOpenOption.WRITE,
                    LinkOption.NOFOLLOW_LINKS,
                )
                .use {
                    if (it.tryLock() == null) return
                    val content = ByteBuffer.allocate(MOST_BYTES)
                    it.read(content)
                    val strike = !unnamed && isStrike(String(content.array(), 0, content.position()))
                    if (file.delete() && strike) add(key) // another process may have been first: it records the crash
                }
        } catch (_: IOException) {} catch (_: OverlappingFileLockException) {}
    }

    private fun isStrike(text: String): Boolean =
        try {
            val (pid, atS) = with(Fields(StrictJson.parse(text))) { Pair(whole("pid"), whole("at_s")) }
            witness.crashed(pid, atS)
        } catch (_: StrictJsonException) {
            false
        }

    private fun add(key: String) {
        val count = (read(record(key))?.count ?: 0) + 1
        val part = File(crashes, ".$key.part")
        try {
            Files.createDirectories(crashes.toPath())
            part.writeText(StrictJson.canonical(mapOf("count" to count, "last_s" to clock.unixS())))
            Files.move(
                part.toPath(),
                record(key).toPath(),
                StandardCopyOption.ATOMIC_MOVE,
                StandardCopyOption.REPLACE_EXISTING,
            )
        } catch (_: IOException) {
            part.delete()
        }
    }

    private fun record(key: String): File = File(crashes, "$key.json")

    /** Null where there is no record or it is damaged: an artifact is left out only on clear evidence. */
    private fun read(file: File): Crashes? =
        try {
            if (file.length() > MOST_BYTES) null
            else
                with(Fields(StrictJson.parse(file.readText()))) { Crashes(whole("count"), whole("last_s")) }
                    .takeIf { it.count > 0 }
        } catch (_: IOException) {
            null
        } catch (_: StrictJsonException) {
            null
        }

    private fun isKey(name: String) = name.length == 64 && name.all { it in '0'..'9' || it in 'a'..'f' }

    companion object {
        const val STRIKES: Int = 2
        val PAUSES_S: LongArray = longArrayOf(3600, 24 * 3600, 7 * 24 * 3600)
        private const val NEWBORN_S = 60L // an unnamed mark this old was left by a crash in between
        private const val MOST_BYTES = 1 shl 16

        // This process's own marks: looking at one would give up its lock.
        private val alive = ConcurrentHashMap<String, Boolean>()

        /** This process's number; -1 where the system does not tell. */
        fun pid(): Long =
            try {
                Files.readSymbolicLink(File("/proc/self").toPath()).toString().toLong()
            } catch (_: IOException) {
                -1
            } catch (_: RuntimeException) {
                -1
            }
    }
}
