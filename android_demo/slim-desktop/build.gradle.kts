plugins { alias(libs.plugins.kotlin.jvm) }

dependencies {
    implementation(project(":slim-core"))
    testImplementation(libs.junit)
    testRuntimeOnly(libs.junit.launcher)
}

tasks.test {
    useJUnitPlatform()
    systemProperty("edgeslim.golden", rootDir.resolve("../tests/golden").path)
}
