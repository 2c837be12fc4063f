plugins { alias(libs.plugins.kotlin.jvm) apply false }

allprojects {
    group = "dev.edgeslim"
    version = "0.1.0"
}
