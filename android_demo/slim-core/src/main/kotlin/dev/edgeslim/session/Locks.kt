package dev.edgeslim.session

import java.io.File
import java.io.IOException
import java.nio.channels.FileChannel
import java.nio.channels.OverlappingFileLockException
import java.nio.file.StandardOpenOption
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

/** Locks between processes; a lock dies with its process. */
internal object Locks {
    // Closing any channel of a file gives up all of this process's locks on it: one at a time opens it.
    private val here = ConcurrentHashMap<String, ReentrantLock>()

    /**
     * Runs [action] while no other process holds the lock of [folder], and tells it so; after [waitMs] without the lock
     * it runs all the same, and is told that it is not alone: a stopped process must not stop this one.
     */
    fun <T> alone(folder: File, waitMs: Long, action: (Boolean) -> T): T =
        here
            .getOrPut(folder.absolutePath) { ReentrantLock() }
            .withLock {
                FileChannel.open(File(folder, "lock").toPath(), StandardOpenOption.CREATE, StandardOpenOption.WRITE)
                    .use { action(locked(it, waitMs)) }
            }

    private fun locked(channel: FileChannel, waitMs: Long): Boolean {
        val giveUp = System.nanoTime() + waitMs * 1_000_000
        while (true) {
            try {
                if (channel.tryLock() != null) return true
            } catch (_: OverlappingFileLockException) { // another class loader of this process
            } catch (_: IOException) { // a file system without locks
                return false
            }
            if (System.nanoTime() > giveUp) return false
            Thread.sleep(POLL_MS)
        }
    }

    private const val POLL_MS = 20L
}
