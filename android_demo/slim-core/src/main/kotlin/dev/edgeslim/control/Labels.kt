package dev.edgeslim.control

/** What people call artifacts: as short as tells them apart. */
internal object Labels {
    /** `0.75x`, `int8 0.75x @192`; a net that is no width has its own id. */
    fun of(net: String, precision: String?, input: String?): String {
        val isWidth = net.length in 4..6 && net.all { it in '0'..'9' }
        val name = if (isWidth) "${Width(net.toInt())}x" else net
        return listOfNotNull(precision, name, input?.let { "@$it" }).joinToString(" ")
    }
}
