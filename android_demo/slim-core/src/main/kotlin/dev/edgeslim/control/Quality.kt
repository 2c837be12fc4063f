package dev.edgeslim.control

import dev.edgeslim.format.SlimBundle

/** What the artifacts of a bundle are worth, for a latency table that was measured on it. */
internal object BundleQuality {
    /** The accuracies in the bundle (of the commonest metric), else multiply-adds standing in for them. */
    fun of(bundle: SlimBundle): TableQuality {
        val artifacts = bundle.artifacts()
        val known = artifacts.filter { it.artifact.quality != null }
        val kinds = known.map { Pair(it.artifact.quality!!.metric, it.artifact.quality.largerIsBetter) }
        if (kinds.isEmpty()) {
            return TableQuality(
                Worth.MACS,
                "bundle",
                true,
                artifacts.associate { it.id to it.artifact.macs.toDouble() },
            )
        }
        val kind =
            kinds.distinct().sortedWith(compareBy({ it.first }, { it.second })).maxByOrNull { kind ->
                kinds.count { it == kind }
            }!!
        val values =
            known
                .filter { Pair(it.artifact.quality!!.metric, it.artifact.quality.largerIsBetter) == kind }
                .associate { it.id to it.artifact.quality!!.value.toDouble() }
        return TableQuality(kind.first, "bundle", kind.second, values)
    }
}

/** Another device's latency table as a first guess for this one. */
internal object PriorTable {
    /**
     * The burst rows of [table], scaled by a quick probe of artifacts here ([hereMs] by id; best: two far apart).
     *
     * One factor for all, the geometric mean of the probes' ratios. Throws [TableException]: no probe is in the table.
     */
    fun scaled(
        table: LatencyTable,
        hereMs: Map<String, Double>,
        device: DeviceInfo,
        os: OsInfo,
        runtime: RuntimeInfo,
        createdAt: String,
        target: String,
    ): LatencyTable {
        val rows = LadderBuilder.onePerArtifact(table.rows.filter { it.target == target })
        val there = rows.filter { it.statistics != null && it.valid }.associateBy { it.artifact }
        val probes =
            hereMs.toSortedMap().mapNotNull { (artifact, ms) ->
                there[artifact]?.let { Probe(artifact, it.statistics!!.p50Ms, ms) }
            }
        if (probes.isEmpty()) throw TableException("a prior needs at least one probed artifact")
        val scale = Math.exp(probes.sumOf { Math.log(it.hereMs / it.thereMs) } / probes.size)
        return LatencyTable(
            edgeslimVersion = table.edgeslimVersion,
            createdAt = createdAt,
            quality = table.quality,
            prior = Prior(rows[0].device, probes, scale),
            rows = there.values.map { scaled(it, scale, device, os, runtime, createdAt) },
        )
    }

    private fun scaled(
        row: LatencyRow,
        scale: Double,
        device: DeviceInfo,
        os: OsInfo,
        runtime: RuntimeInfo,
        createdAt: String,
    ): LatencyRow {
        val times = row.statistics!!
        return row.copy(
            statistics =
                LatencyStatistics(
                    times.p50Ms * scale,
                    times.p90Ms * scale,
                    times.p95Ms * scale,
                    times.p99Ms * scale,
                    times.meanMs * scale,
                    times.stdMs * scale,
                    times.minMs * scale,
                    times.maxMs * scale,
                ),
            rebuildMs = row.rebuildMs?.times(scale),
            loadColdMs = row.loadColdMs?.times(scale),
            loadWarmMs = row.loadWarmMs?.times(scale),
            firstInferenceMs = row.firstInferenceMs?.times(scale),
            kind = RowKind.PRIOR,
            device = device,
            os = os,
            runtime = runtime,
            samplesMs = null,
            samplesFile = null,
            blockRuns = null,
            peakRssBytes = null,
            thermal = ThermalSpan(),
            battery = BatterySpan(),
            clock = ClockSpan(),
            load = LoadSpan(),
            energyMjPerInference = null,
            energyMethod = "none",
            startedAt = createdAt,
        )
    }
}
