"""Merging and subsetting: the bytes of packing at once, what is the same net, what is refused."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import input_bundle
import numpy as np
import pytest
from latency_rows import row, table
from small_bundle import IMAGE, INFO, INPUT, WIDTHS, artifact, builder, counts, folds, segments_of, sources, variant

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.constants import Fold, Kind
from edgeslim.core.cut import layout_of, master_cut
from edgeslim.core.latency import PRIOR, LatencyTable
from edgeslim.core.manifest import Part, artifact_sha256
from edgeslim.core.recipe import Rule, Segment
from edgeslim.core.width import Width
from edgeslim.errors import FormatError, HostError, UsageError
from edgeslim.press.build import BundleBuilder, BundleContent, BundleInfo, MasterSet, MasterSource, bundle_parts
from edgeslim.press.combine import merge, subset, with_prior


def content_bytes(content: BundleContent) -> bytes:
    return b"".join(bytes(part) for part in bundle_parts(content))


def rich(artifacts: Sequence[str]) -> BundleContent:
    """A bundle of several variants, inputs and nets, one of them labelled, with only these artifacts."""
    return input_bundle.builder(artifacts)[0].content()


def named(
    *widths: int,
    label: str | None = None,
    like: int = 500,
    target: str | None = "executorch",
    macs: int = 7,
    params: int = 7,
    seed: int = 0,
    filler: int = 0,
    info: BundleInfo = INFO,
    **more: Any,
) -> BundleContent:
    """A bundle of one net, by default the one that 0.5 makes, under other names."""
    masters = MasterSet(sources(seed=seed))
    made = BundleBuilder(info, masters)
    cut = masters.cut(counts(Width(like)))
    cuts = [master_cut(master, masters.parts, cut) for master in masters.masters]
    net = made.add_net(cut, folds(cuts, like), widths=tuple(map(Width, widths)), label=label, params=params)
    if target is not None:
        constants = made.constants(net)
        packed, _ = artifact(constants, segments_of(constants, Rule.F32), filler=filler)
        made.add_artifact(replace(variant(target), **more), net, packed, macs=macs)
    return made.content()


# The bytes of packing at once


def test_merging_is_the_same_in_any_order() -> None:
    parts = [builder((w,), (t,), filler=30_000)[0].content() for w in WIDTHS for t in ("coreml", "executorch")]
    expected = content_bytes(builder(filler=30_000)[0].content())
    for order in ((0, 1, 2, 3), (3, 1, 2, 0), (2, 0, 3, 1)):
        merged = parts[order[0]]
        for index in order[1:]:
            merged = merge(merged, parts[index])
        assert content_bytes(merged) == expected


@pytest.mark.parametrize("seed", range(12))
def test_any_two_parts_merge_into_what_packing_at_once_gives(seed: int) -> None:
    """They may overlap, lack whole variants, inputs or nets, and have other bases."""
    rng = random.Random(seed)
    everything = list(input_bundle.EVERYTHING)
    first, second = (rng.sample(everything, rng.randint(1, len(everything))) for _ in range(2))
    expected = content_bytes(rich(sorted({*first, *second})))
    assert content_bytes(merge(rich(first), rich(second))) == expected
    assert content_bytes(merge(rich(second), rich(first))) == expected


@pytest.mark.parametrize("seed", range(12))
def test_a_subset_is_what_packing_less_gives(seed: int) -> None:
    rng = random.Random(seed)
    some = rng.sample(input_bundle.EVERYTHING, rng.randint(2, len(input_bundle.EVERYTHING)))
    few = rng.sample(some, rng.randint(1, len(some) - 1))
    whole = rich(input_bundle.EVERYTHING)
    expected = content_bytes(rich(few))
    assert content_bytes(subset(whole, artifacts=few)) == expected
    assert content_bytes(subset(subset(whole, artifacts=some), artifacts=few)) == expected  # of a subset


def test_subsets_by_target_variant_width_and_label() -> None:
    whole = rich(input_bundle.EVERYTHING)
    every = input_bundle.EVERYTHING
    options: dict[str, Any]
    for left, options in (
        ([i for i in every if i.startswith("executorch")], {"targets": ["executorch"]}),
        ([i for i in every if i.startswith("executorch-int8")], {"targets": ["executorch-int8-8"]}),
        ([i for i in every if i.endswith("0500")], {"widths": [Width(505)]}),
        ([i for i in every if i.endswith(("0500", "searched"))], {"widths": [Width(500), "searched"]}),
        (["litert-fp32-6x10/searched"], {"widths": ["searched"], "targets": ["litert"]}),
    ):
        smaller = subset(whole, **options)
        if "targets" in options and "widths" not in options:  # all nets stay, also those without an artifact
            assert smaller.manifest.nets == whole.manifest.nets
            smaller = subset(smaller, artifacts=left)
        assert content_bytes(smaller) == content_bytes(rich(left))


def test_a_subset_of_a_file_is_cut_from_the_mapping(tmp_path: Path) -> None:
    builder(filler=30_000)[0].write(tmp_path / "all", overwrite=False)
    less = content_bytes(builder((Width(500),), ("coreml",), filler=30_000)[0].content())
    with SlimBundle.open(tmp_path / "all") as bundle:
        assert content_bytes(subset(BundleContent.of(bundle), targets=["coreml"], widths=[Width(500)])) == less


def test_merging_with_itself_or_a_subset_changes_nothing() -> None:
    content = rich(input_bundle.EVERYTHING)
    assert content_bytes(merge(content, content)) == content_bytes(content)
    assert content_bytes(merge(subset(content, widths=["searched"]), content)) == content_bytes(content)


def test_a_subset_without_the_base_is_deflated_again() -> None:
    whole = builder(filler=30_000)[0].content()
    (one,) = [v for v in whole.manifest.variants if v.target == "executorch"]
    (base,) = [a.net for a in one.artifacts if a.base is None]
    (other,) = [a for a in one.artifacts if a.base is not None]
    name = f"template/{one.id}/{other.net}"
    smaller = subset(whole, widths=[Width(int(other.net))])
    assert other.base == f"{one.id}/{base}"
    assert smaller.stored[name] != whole.stored[name]
    SlimBundle.from_bytes(content_bytes(smaller)).check("files")


# The same net


def test_one_net_under_two_names_has_both() -> None:
    for first, second in ((named(490), named(505, 700)), (named(505, 700), named(490))):
        merged = merge(first, second)
        assert [(net.id, net.widths) for net in merged.manifest.nets] == [("0490", (490, 505, 700))]
        assert [a.net for a in merged.manifest.variants[0].artifacts] == ["0490"]
        assert content_bytes(merged) == content_bytes(named(490, 505, 700))


def test_a_net_keeps_the_artifacts_of_both_of_its_names() -> None:
    """0.49 brings ExecuTorch, 0.505 brings LiteRT: one net with both."""
    merged = merge(named(490), named(505, target="litert"))
    assert [(v.target, [a.net for a in v.artifacts]) for v in merged.manifest.variants] == [
        ("executorch", ["0490"]),
        ("litert", ["0490"]),
    ]
    SlimBundle.from_bytes(content_bytes(merged)).check("files")


def test_a_smaller_name_may_change_the_order_and_the_base() -> None:
    """Of equally long templates the last in order is the base: 0.9 becomes 0.1, and 0.5 takes over."""
    first, second = named(900, filler=5_000), named(100, target=None)
    wide = named(600, like=1000, filler=5_000)
    merged = merge(merge(first, wide), second)
    assert [net.widths for net in merged.manifest.nets] == [(100, 900), (600,)]
    assert content_bytes(merged) == content_bytes(merge(named(100, 900, filler=5_000), wide))
    SlimBundle.from_bytes(content_bytes(merged)).check("files")


def test_a_net_has_one_label_or_widths() -> None:
    for first, second in ((named(500), named(label="half")), (named(label="half"), named(label="other"))):
        for a, b in ((first, second), (second, first)):
            with pytest.raises(UsageError, match="disagree about net"):
                merge(a, b)
    assert merge(named(label="half"), named(label="half")).manifest.nets[0].id == "half"


# What is refused

OTHER_CROP = replace(INPUT, tensors=(replace(INPUT.tensors[0], image=replace(IMAGE, crop="1")),))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (named(500, seed=1), "their masters differ"),
        (named(500, info=replace(INFO, labels=None)), "their labels differ"),
        (named(500, info=replace(INFO, task="other")), "their task differ"),
        (named(500, params=8), "about net 0500: params differ"),
        (named(500, macs=8), "different artifacts of net 0500: macs differ"),
        (named(500, like=1000), "about net 0500: cut, fold_sha256 differ"),
        (named(400, 500, like=1000), r"about width 0\.5: it names two different nets"),
        (named(500, exporters={"executorch": "1.5.2"}), "about executorch-fp32-8: exporters differ"),
        (named(500, form="nchw-uint8"), "about executorch-fp32-8: form differ"),
        (named(500, target="litert", info=replace(INFO, inputs=(OTHER_CROP,))), "describe input 8 differently"),
    ],
)
def test_disagreements_are_refused_either_way(other: BundleContent, message: str) -> None:
    for first, second in ((named(500), other), (other, named(500))):
        with pytest.raises(UsageError, match=message):
            merge(first, second)


def test_one_variant_is_made_by_one_exporter() -> None:
    made, _ = builder((Width(500),))
    net = made.constants("0500")
    packed, _ = artifact(net, segments_of(net, Rule.F32))
    with pytest.raises(UsageError, match="not made alike: exporters differ"):
        made.add_artifact(replace(variant(), exporters={"executorch": "1.5.2"}), "0500", packed, macs=1)


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


def test_subsets_that_leave_nothing_are_refused() -> None:
    content = builder()[0].content()
    with pytest.raises(UsageError, match="nothing for 'litert'; it has coreml, coreml-fp16-8, executorch"):
        subset(content, targets=["litert"])
    with pytest.raises(UsageError, match=r"no width 0\.7: the nearest are 0\.5 and 1\.0"):
        subset(content, widths=[Width(700)])
    with pytest.raises(UsageError, match="no artifact would be left"):
        subset(content, targets=["coreml"], artifacts=["executorch-fp32-8/0500"])
    with pytest.raises(UsageError, match="no artifact 'executorch-fp32-8/0600'"):
        subset(content, artifacts=["executorch-fp32-8/0600"])


def test_a_writer_refuses_what_readers_would() -> None:
    with pytest.raises(FormatError, match="no-net"):
        bundle_parts(BundleBuilder(INFO, MasterSet(sources())).content())


# Rebuilding


def test_rebuilding_needs_less_memory_than_twice_the_largest_tensor(tmp_path: Path) -> None:
    """ExecuTorch's layout is made row by row; in the other one the slowest axis is not the first."""
    weight = np.random.default_rng(0).standard_normal((1024, 512, 3, 3)).astype(np.float32)
    axes = tuple((Part(name=f"p{axis}", size=size, optional=False),) for axis, size in enumerate(weight.shape))
    masters = MasterSet([MasterSource(name="conv", axes=axes, array=weight, scale=True)])
    made = BundleBuilder(INFO, masters)
    made.add_net(masters.cut({}), [Fold(scale=np.full(1024, 2, np.float32))], widths=(Width(1000),), params=1)
    for target, order in (("executorch", (0, 2, 3, 1)), ("litert", (1, 2, 3, 0))):
        segment = Segment(offset=0, master=0, kind=Kind.WEIGHT, layout=layout_of(order))
        packed, _ = artifact(made.constants("1000"), [segment])
        made.add_artifact(variant(target), "1000", packed, macs=1)
    made.write(tmp_path / "b.slim", overwrite=False)
    del made, masters
    with SlimBundle.open(tmp_path / "b.slim") as bundle:
        for target, limit in (("executorch", 0.2), ("litert", 2.0)):
            tracemalloc.start()
            bundle.rebuild(target, 1000, tmp_path / target)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < limit * weight.nbytes, f"{target}: {peak:,} bytes"


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
