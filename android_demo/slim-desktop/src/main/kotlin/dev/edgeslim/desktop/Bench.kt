package dev.edgeslim.desktop

import dev.edgeslim.control.Ladder
import dev.edgeslim.control.Reading
import dev.edgeslim.control.Rung
import dev.edgeslim.control.WidthController
import dev.edgeslim.format.Addressed
import dev.edgeslim.format.SlimBundle
import java.io.File
import java.lang.management.ManagementFactory
import java.security.MessageDigest
import java.util.Locale

/**
 * How fast artifacts come out of a bundle, against the floor: copying the finished file and hashing it. Times are CPU
 * time of the one thread that does it, the least of [TURNS] turns in one run, so that another process disturbs little.
 * Run by `bin/slim-bench BUNDLE`.
 */
public object Bench {
    private const val TURNS = 40
    private const val CHUNK_BYTES = 1 shl 16
    private const val STEPS = 50_000
    private val threads = ManagementFactory.getThreadMXBean()

    /** Prints one line for the largest artifact of every variant. */
    @JvmStatic
    public fun main(arguments: Array<String>) {
        val folder = createTempDir()
        try {
            println("a step of the controller takes ${stepNs()} ns")
            val opening = least { SlimBundle.open(File(arguments[0])).close() }
            println("opened in ${milliseconds(opening)} ms")
            SlimBundle.open(File(arguments[0])).use { bundle ->
                for (variant in bundle.manifest.variants.filter { !it.directory }) {
                    val largest = bundle.artifacts(variant.id).maxBy { it.artifact.totalBytes }
                    println(line(bundle, largest, folder))
                }
            }
        } finally {
            folder.deleteRecursively()
        }
    }

    /** At 30 frames a second, every inference a little faster or slower than the table says. */
    private fun stepNs(): Long {
        val rungs = (1..6).map { Rung("bench/$it", 4000L * it, 8000L * it, it.toLong(), "$it") }
        val controller = WidthController(Ladder(rungs))
        val reading = Reading(0, 33_000)
        fun steps() {
            for (step in 0 until STEPS) {
                val decision = controller.step(reading)
                reading.nowUs += 33_333
                reading.observedRung = decision.rung
                reading.observedUs = rungs[decision.rung].timeUs * (95 + step * 7919L % 11) / 100
            }
        }
        return least(::steps) / STEPS
    }

    private fun createTempDir(): File = java.nio.file.Files.createTempDirectory("edgeslim-bench").toFile()

    private fun line(bundle: SlimBundle, largest: Addressed, folder: File): String {
        val out = File(folder, "out${largest.variant.suffix}")
        val bytes = largest.artifact.totalBytes
        val rebuild = least { bundle.rebuild(largest.id, out, overwrite = true) }
        val floor = least { copyAndHash(out, File(folder, "copy")) }
        return "%s: %.2f MB, rebuilt, hashed and written in %s ms = %.0f MB/s; copied and hashed in %s ms: %.2fx"
            .format(
                Locale.ROOT,
                largest.id,
                bytes / 1e6,
                milliseconds(rebuild),
                bytes * 1e3 / rebuild,
                milliseconds(floor),
                rebuild.toDouble() / floor,
            )
    }

    private fun milliseconds(ns: Long): String = "%.2f".format(Locale.ROOT, ns / 1e6)

    private fun least(action: () -> Unit): Long =
        (0 until TURNS).minOf {
            val before = threads.currentThreadCpuTime
            action()
            threads.currentThreadCpuTime - before
        }

    private fun copyAndHash(from: File, to: File) {
        val digest = MessageDigest.getInstance("SHA-256")
        val chunk = ByteArray(CHUNK_BYTES)
        from.inputStream().use { input ->
            to.outputStream().use { output ->
                while (true) {
                    val count = input.read(chunk)
                    if (count < 0) break
                    digest.update(chunk, 0, count)
                    output.write(chunk, 0, count)
                }
            }
        }
        digest.digest()
    }
}
