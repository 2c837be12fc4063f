"""Foundation: numpy and safetensors only, never torch; mirrored name for name in Kotlin and Swift."""
