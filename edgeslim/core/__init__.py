"""Foundation: numpy only, never torch; mirrored name for name in Kotlin and Swift."""
