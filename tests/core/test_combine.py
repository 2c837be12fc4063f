"""Merging and subsetting: what is the same net, what is refused."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edgeslim.core.slicing import Cut
from latency_rows import row, table
from small_bundle import INFO, WIDTHS, artifact, builder, cuts, folds, masters, variant

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import PRIOR, LatencyTable
from edgeslim.core.manifest import artifact_sha256
from edgeslim.core.rebuild import LayerFold
from edgeslim.core.width import Width
from edgeslim.errors import FormatError, HostError, UsageError
from edgeslim.press.build import BundleBuilder, BundleContent, MasterSource, bundle_parts
from edgeslim.press.combine import merge, subset, with_prior


def content_bytes(content: BundleContent) -> bytes:
    return b"".join(bytes(part) for part in bundle_parts(content))


def named(name: int, *, target: str | None = "executorch", macs: int = 7) -> BundleContent:
    """A bundle of one net, the one that 0.5 makes, under another name."""
    like = Width(500)
    made = BundleBuilder(INFO, masters())
    made.add_width(Width(name), cuts(like), folds(like), macs=macs, params=7)
    if target is not None:
        made.add_artifact(variant(target), Width(name), artifact(made.layers(Width(name)))[0])
    return made.content()


def test_one_net_under_two_names_keeps_the_smaller() -> None:
    for first, second in ((named(490), named(505)), (named(505), named(490))):
        manifest = merge(first, second).manifest
        assert [(w.permille, w.aliases) for w in manifest.widths] == [(490, (505,))]
        assert [a.permille for a in manifest.variants[0].artifacts] == [490]
        SlimBundle.from_bytes(content_bytes(merge(first, second))).check()


def test_a_twin_with_an_artifact_of_its_own_is_refused() -> None:
    with pytest.raises(UsageError, match=r"0\.505 is the same net as 0\.49") as caught:
        merge(named(490, target=None), named(505))
    assert "pack" in (caught.value.hint or "")


def test_merging_with_itself_changes_nothing() -> None:
    content = builder(filler=30_000)[0].content()
    assert content_bytes(merge(content, content)) == content_bytes(content)


def test_merging_is_the_same_in_any_order() -> None:
    parts = [builder((w,), (t,), filler=30_000)[0].content() for w in WIDTHS for t in ("coreml", "executorch")]
    expected = content_bytes(builder(filler=30_000)[0].content())
    for order in ((0, 1, 2, 3), (3, 1, 2, 0), (2, 0, 3, 1)):
        merged = parts[order[0]]
        for index in order[1:]:
            merged = merge(merged, parts[index])
        assert content_bytes(merged) == expected


def test_other_nets_are_refused() -> None:
    other = BundleBuilder(INFO, masters(seed=1))
    other.add_width(Width(500), cuts(Width(500)), folds(Width(500)), macs=1, params=1)
    with pytest.raises(UsageError, match="their layers differ"):
        merge(named(500), other.content())
    labelled = BundleBuilder(replace(INFO, labels=None), masters())
    labelled.add_width(Width(500), cuts(Width(500)), folds(Width(500)), macs=1, params=1)
    with pytest.raises(UsageError, match="their labels differ"):
        merge(named(500), labelled.content())


def test_disagreements_are_refused() -> None:
    with pytest.raises(UsageError, match=r"about width 0\.5: macs differ"):
        merge(named(500), named(500, macs=8))
    made = BundleBuilder(INFO, masters())
    made.add_width(Width(500), cuts(Width(500)), folds(Width(500)), macs=7, params=7)
    packed = artifact(made.layers(Width(500)), filler=10)[0]
    newer = replace(variant(), exporters={"executorch": "1.5.2"})
    with pytest.raises(UsageError, match="about executorch-fp32-8: exporters differ"):
        merge(named(500), made.add_artifact(newer, Width(500), packed).content())
    with pytest.raises(UsageError, match="not made alike: exporters differ"):
        made.add_artifact(variant(), Width(500), packed)


def test_a_table_travels_along_and_survives_merging() -> None:
    plain = named(500)
    (entry,) = plain.manifest.variants[0].artifacts
    mine = row(file_sha256=artifact_sha256(entry))
    carrying = with_prior(plain, table(mine, row(file_sha256="f" * 64)))
    (kept,) = LatencyTable.from_json(carrying.manifest.extra[PRIOR]).rows
    assert (kept.file_sha256, kept.samples_ms) == (mine.file_sha256, None)
    for both in (merge(carrying, plain), merge(plain, carrying)):
        assert content_bytes(both) == content_bytes(carrying)
    other = with_prior(plain, table(replace(mine, seed=mine.seed + 1)))
    with pytest.raises(UsageError, match="cannot be merged: their latency_table differ"):
        merge(carrying, other)
    with pytest.raises(UsageError, match="no row of this bundle's files"):
        with_prior(plain, table(row(file_sha256="f" * 64)))


def test_a_subset_without_the_widest_is_deflated_again() -> None:
    whole = builder(filler=30_000)[0].content()
    smaller = subset(whole, widths=[Width(500)])
    assert smaller.stored["template/executorch-fp32-8/0500"] != whole.stored["template/executorch-fp32-8/0500"]
    SlimBundle.from_bytes(content_bytes(smaller)).check()


def test_subsets_that_leave_nothing_are_refused() -> None:
    content = builder()[0].content()
    with pytest.raises(UsageError, match="no target 'litert'"):
        subset(content, targets=["litert"])
    with pytest.raises(UsageError, match=r"no width 0\.7 in the bundle"):
        subset(content, widths=[Width(700)])
    assert subset(content, targets=["coreml-fp16-8"]).manifest.variants[0].target == "coreml"


def test_a_writer_refuses_what_readers_would() -> None:
    made = BundleBuilder(INFO, masters())
    with pytest.raises(FormatError, match="no-width"):
        bundle_parts(made.content())


def test_rebuilding_needs_less_memory_than_twice_the_largest_tensor(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((1024, 512, 3, 3)).astype(np.float32)
    made = BundleBuilder(INFO, [MasterSource(name="conv", weight=weight)])
    numbers = np.ones(1024, np.float32)
    cut = Cut(out_channels=1024, in_channels=512)
    made.add_width(Width(1000), [cut], [LayerFold(scale=numbers, shift=numbers)], macs=1, params=1)
    for target, layout_turns in (("executorch", 1), ("litert", 3)):
        packed, _ = artifact(made.layers(Width(1000)) * layout_turns)
        segments = tuple(replace(segment, layer=0) for segment in packed.segments)
        made.add_artifact(variant(target), Width(1000), replace(packed, segments=segments))
    made.write(tmp_path / "b.slim", overwrite=False)
    with SlimBundle.open(tmp_path / "b.slim") as bundle:
        for target in ("executorch", "litert"):
            tracemalloc.start()
            bundle.rebuild(target, 1000, tmp_path / target)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 2 * weight.nbytes, f"{target}: {peak:,} bytes"


def test_a_thread_that_flushes_subnormals_is_told(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    builder()[0].write(tmp_path / "b.slim", overwrite=False)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormals")
    try:
        with SlimBundle.open(tmp_path / "b.slim") as bundle, pytest.raises(HostError, match="subnormal"):
            bundle.rebuild("executorch", 1000, tmp_path / "out")
    finally:
        torch.set_flush_denormal(False)
    assert not (tmp_path / "out").exists()
