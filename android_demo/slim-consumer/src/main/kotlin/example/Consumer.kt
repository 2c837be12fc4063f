package example

import dev.edgeslim.SlimException
import dev.edgeslim.control.Policy
import dev.edgeslim.control.SignalSource
import dev.edgeslim.control.Signals
import dev.edgeslim.format.Depth
import dev.edgeslim.format.SlimBundle
import dev.edgeslim.image.CameraBuffer
import dev.edgeslim.image.CameraFormat
import dev.edgeslim.image.Layout
import dev.edgeslim.image.Pixels
import dev.edgeslim.image.Plane
import dev.edgeslim.session.Runtime
import dev.edgeslim.session.SessionEvent
import dev.edgeslim.session.SlimOptions
import dev.edgeslim.session.SlimSession
import java.io.File
import java.nio.ByteBuffer

/** What an app does with the library, from the bundle to the words under the picture. */
class Consumer(bundleFile: File, cache: File, runtime: Runtime) {
    private val bundle: SlimBundle = SlimBundle.open(bundleFile)
    private val session =
        SlimSession.open(
            bundle,
            listOf(runtime),
            SlimOptions(cacheDirectory = cache, policy = Policy.QUALITY, listener = ::heard),
            SignalSource { Signals(status = 0) },
        )
    private val pixels = session.artifacts.mapNotNull { it.contract }.distinct().associateWith(::Pixels)

    fun check(): String =
        try {
            bundle.check(Depth.FILES)
            "intact"
        } catch (error: SlimException) {
            "${error.message} ${error.hint ?: ""}"
        }

    fun frame(y: ByteBuffer, u: ByteBuffer, v: ByteBuffer, width: Int, height: Int): String {
        val planes = listOf(Plane(y, 640), Plane(u, 320, 2), Plane(v, 320, 2))
        val picture = CameraBuffer(CameraFormat.I420, width, height, planes, rotation = 90).upright()
        val frame =
            session.run { plan, inputs ->
                pixels.getValue(plan.contract!!).write(picture, Layout.NCHW, inputs.values.first().asFloatBuffer())
            }
        return "${frame.plan.label}: ${frame.latencyUs / 1000} ms, ${frame.reason()}"
    }

    private fun heard(event: SessionEvent) = println("${event.kind.text}: ${event.message}")
}
