package dev.edgeslim.bench

import dev.edgeslim.control.DeviceInfo
import dev.edgeslim.control.LatencyRow
import dev.edgeslim.control.OsInfo
import dev.edgeslim.control.TableException
import dev.edgeslim.json.Fields
import dev.edgeslim.json.JsonObject
import dev.edgeslim.json.StrictJson
import dev.edgeslim.json.StrictJsonException

/**
 * What a device reports while it measures, in order.
 *
 * ```
 * (Ready ─►) Passport ─► (Progress | RowDone | Note)* ─► Done
 *                    └─► Refused   instead of any of them: nothing more comes
 * ```
 *
 * A row that is measured again comes a second time; the later one counts.
 */
public sealed class Event {
    /** The device has what it needs, and waits for the bundle. */
    public object Ready : Event()

    /** The machine that measures. */
    public data class Passport(val device: DeviceInfo, val os: OsInfo) : Event()

    /** @property leftS seconds still to go, an estimate that gets better. */
    public data class Progress(val doing: String, val done: Long, val of: Long, val leftS: Double) : Event()

    /** A row is finished. */
    public data class RowDone(val row: LatencyRow) : Event()

    /** A sentence for people. */
    public data class Note(val text: String) : Event()

    /**
     * An error by its parts.
     *
     * @property exitCode 1 internal, 2 bad input, 3 something is not installed, 4 verification, 5 not possible here, 6
     *   device.
     * @property module what is not installed.
     * @property extra what brings it.
     */
    public data class Refused
    @JvmOverloads
    constructor(
        val name: String,
        val message: String,
        val hint: String?,
        val exitCode: Long,
        val module: String? = null,
        val extra: String? = null,
    ) : Event()

    /** Everything that could be measured has been. */
    public object Done : Event()

    /** One line of canonical JSON, without its end. */
    public fun toLine(): String = StrictJson.canonical(mapOf("is" to kind()) + body())

    private fun kind(): String =
        when (this) {
            is Ready -> "Ready"
            is Passport -> "Passport"
            is Progress -> "Progress"
            is RowDone -> "RowDone"
            is Note -> "Note"
            is Refused -> "Refused"
            is Done -> "Done"
        }

    private fun body(): JsonObject =
        when (this) {
            is Ready,
            is Done -> emptyMap()
            is Passport -> mapOf("device" to device.json(), "os" to os.json())
            is Progress -> mapOf("doing" to doing, "done" to done, "of" to of, "left_s" to leftS)
            is RowDone -> mapOf("row" to row.json())
            is Note -> mapOf("text" to text)
            is Refused ->
                mapOf(
                    "name" to name,
                    "message" to message,
                    "hint" to hint,
                    "exit_code" to exitCode,
                    "module" to module,
                    "extra" to extra,
                )
        }

    public companion object {
        private val READERS: Map<String, (Fields) -> Event> =
            mapOf(
                "Ready" to { _ -> Ready },
                "Done" to { _ -> Done },
                "Passport" to { Passport(it.nested("device", DeviceInfo::read), it.nested("os", OsInfo::read)) },
                "Progress" to { Progress(it.text("doing"), it.whole("done"), it.whole("of"), it.number("left_s")) },
                "RowDone" to { RowDone(it.nested("row", LatencyRow::read)) },
                "Note" to { Note(it.text("text")) },
                "Refused" to ::refused,
            )

        private fun refused(fields: Fields): Event =
            Refused(
                name = fields.text("name"),
                message = fields.text("message"),
                hint = fields.textOrNull("hint"),
                exitCode = fields.whole("exit_code"),
                module = if (fields.has("module")) fields.textOrNull("module") else null,
                extra = if (fields.has("extra")) fields.textOrNull("extra") else null,
            )

        /**
         * The event in one line.
         *
         * @throws JobException it is none.
         */
        @JvmStatic
        public fun fromLine(line: String): Event =
            try {
                val fields = Fields(StrictJson.parse(line))
                fields.choice("is", READERS)(fields).also { fields.finish() }
            } catch (error: StrictJsonException) {
                throw JobException("cannot read the line '${line.take(200)}': ${error.message}")
            } catch (error: TableException) {
                throw JobException("cannot read the line '${line.take(200)}': ${error.message}")
            }
    }
}
