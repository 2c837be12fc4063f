package dev.edgeslim.desktop

import dev.edgeslim.SlimException
import dev.edgeslim.UsageException
import dev.edgeslim.control.Ladder
import dev.edgeslim.control.LatencyTable
import dev.edgeslim.control.Policy
import dev.edgeslim.control.Reading
import dev.edgeslim.control.WidthController
import dev.edgeslim.format.Depth
import dev.edgeslim.format.SlimBundle
import java.io.File
import java.io.IOException
import java.io.PrintStream
import kotlin.system.exitProcess

private const val USAGE =
    "slim check BUNDLE… [--depth parts|files] · slim rebuild BUNDLE --artifact ID OUT [--overwrite] · " +
        "slim ladder TABLE · slim decide LADDER POLICY READINGS.jsonl [--state]"

/**
 * `slim`: one JSON line per result, the same in every language, so that any bundle, table or log can be tried against
 * all of them.
 */
public fun main(arguments: Array<String>) {
    exitProcess(Command(System.out).run(arguments.toList()))
}

/** @param out where the lines go. */
internal class Command(private val out: PrintStream) {
    /** The exit code: 0, or 2 where something was refused. */
    fun run(arguments: List<String>): Int =
        try {
            when (arguments.firstOrNull()) {
                "check" -> check(Options(arguments.drop(1), "--depth"))
                "rebuild" -> rebuild(Options(arguments.drop(1), "--artifact"))
                "ladder" -> ladder(Options(arguments.drop(1)))
                "decide" -> decide(Options(arguments.drop(1)))
                else -> throw UsageException("no such command", hint = USAGE)
            }
        } catch (error: SlimException) {
            refused(error)
        }

    private fun refused(error: SlimException): Int {
        out.println(error.toJson())
        return 2
    }

    /** Words without an option, and options with ([valued]) or without a value. */
    private class Options(arguments: List<String>, valued: String? = null) {
        val words = ArrayList<String>()
        val flags = HashSet<String>()
        var value: String? = null

        init {
            var at = 0
            while (at < arguments.size) {
                val word = arguments[at++]
                when {
                    word == valued -> {
                        value = arguments.getOrNull(at++) ?: throw UsageException("$word needs a value", hint = USAGE)
                    }
                    word.startsWith("--") -> flags.add(word)
                    else -> words.add(word)
                }
            }
        }

        fun only(count: Int, vararg known: String): List<String> {
            if (words.size != count || !known.toSet().containsAll(flags)) {
                throw UsageException("cannot read these arguments", hint = USAGE)
            }
            return words
        }
    }

    private fun check(options: Options): Int {
        val depth =
            when (options.value) {
                null,
                "parts" -> Depth.PARTS
                "files" -> Depth.FILES
                else -> throw UsageException("no such depth '${options.value}'", hint = USAGE)
            }
        if (options.words.isEmpty() || options.flags.isNotEmpty()) throw UsageException("which bundle?", hint = USAGE)
        var code = 0
        for (path in options.words) {
            try {
                SlimBundle.open(File(path)).use { it.check(depth) }
                out.println("{\"depth\":\"${depth.name.lowercase()}\",\"ok\":true}")
            } catch (error: SlimException) {
                code = refused(error)
            }
        }
        return code
    }

    private fun rebuild(options: Options): Int {
        val (bundle, place) = options.only(2, "--overwrite")
        val id = options.value ?: throw UsageException("which --artifact?", hint = USAGE)
        SlimBundle.open(File(bundle)).use {
            out.println(it.rebuild(id, File(place), "--overwrite" in options.flags).toJson())
        }
        return 0
    }

    private fun ladder(options: Options): Int {
        val (table) = options.only(1)
        out.println(Ladder.of(LatencyTable.fromJson(read(table))).toJson())
        return 0
    }

    private fun decide(options: Options): Int {
        val (ladder, policy, readings) = options.only(3, "--state")
        val controller = WidthController(Ladder.fromJson(read(ladder)), Policy.fromJson(read(policy)))
        for (line in read(readings).lineSequence().filter { it.isNotBlank() }) {
            val decision = controller.step(Reading.fromJson(line)).toJson()
            // What a step remembers goes along where it is asked for: `{decision…, "state": {…}}`.
            val state = if ("--state" in options.flags) ",\"state\":${controller.state.toJson()}" else ""
            out.println(decision.dropLast(1) + state + "}")
        }
        return 0
    }

    private fun read(path: String): String =
        try {
            File(path).readText()
        } catch (error: IOException) {
            throw UsageException("cannot read $path: ${error.message}", cause = error)
        }
}
