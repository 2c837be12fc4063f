package dev.edgeslim.format

import java.nio.ByteBuffer
import java.security.MessageDigest

/** SHA-256 as 64 lower-case hexadecimal digits. */
internal object Sha256 {
    fun digest(): MessageDigest = MessageDigest.getInstance("SHA-256")

    fun hex(content: ByteArray): String = hex(digest().apply { update(content) })

    fun hex(content: ByteBuffer): String = hex(digest().apply { update(content.duplicate()) })

    /** The digits of what [digest] has seen; it begins anew. */
    fun hex(digest: MessageDigest): String {
        val digits = "0123456789abcdef"
        val text = StringBuilder(64)
        for (byte in digest.digest()) text.append(digits[byte.toInt() shr 4 and 15]).append(digits[byte.toInt() and 15])
        return text.toString()
    }
}
