// For Android Studio. Not built by our CI, which has no Google Maven: pom.xml builds the same sources there.
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "edgeslim-android"

include(":slim-core", ":slim-desktop")
