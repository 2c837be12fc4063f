"""Bundles: written, opened, rebuilt, merged, cut down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_bundle import builder

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.width import Width
from edgeslim.errors import OutputError, UsageError, WidthError
from edgeslim.press.build import BundleContent, write_bundle
from edgeslim.press.combine import merge, subset


@pytest.mark.parametrize(("weights", "filler"), [("f32", 0), ("f16", 0), ("f32", 30_000)])
def test_every_artifact_comes_back_byte_for_byte(tmp_path: Path, weights: str, filler: int) -> None:
    made, contents = builder(weights=weights, filler=filler)
    path = tmp_path / "tiny.slim"
    size = made.write(path, overwrite=False)
    assert size == path.stat().st_size
    with SlimBundle.open(path) as bundle:
        bundle.check()
        for (target, permille), files in contents.items():
            out = tmp_path / f"{target}-{permille}"
            done = bundle.rebuild(target, Width(permille), out)
            assert done.permille == permille
            if out.is_dir():
                assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()} == files
            else:
                assert [out.read_bytes()] == list(files.values())
            with pytest.raises(OutputError):
                bundle.rebuild(target, permille, out)
            bundle.rebuild(target, permille, out, overwrite=True)


def test_stock_safetensors_opens_a_bundle(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    made, _ = builder()
    made.write(tmp_path / "tiny.slim", overwrite=False)
    tensors = load_file(tmp_path / "tiny.slim")
    with SlimBundle.open(tmp_path / "tiny.slim") as bundle:
        assert sorted(tensors) == sorted(bundle.header.tensors)
        for name, array in tensors.items():
            assert np.array_equal(array, bundle.tensor(name))


def test_same_content_same_bytes_in_any_order(tmp_path: Path) -> None:
    one, _ = builder()
    two, _ = builder((Width(1000), Width(500)), ("executorch", "coreml"))
    one.write(tmp_path / "one", overwrite=False)
    two.write(tmp_path / "two", overwrite=False)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_merging_gives_the_bytes_of_packing_together(tmp_path: Path) -> None:
    everything, _ = builder(filler=30_000)
    everything.write(tmp_path / "all", overwrite=False)
    expected = (tmp_path / "all").read_bytes()
    by_target = [builder(targets=(t,), filler=30_000)[0].content() for t in ("executorch", "coreml")]
    by_width = [builder(widths=(w,), filler=30_000)[0].content() for w in (Width(1000), Width(500))]
    for first, second in (by_target, by_width):
        write_bundle(merge(first, second), tmp_path / "merged", overwrite=True)
        assert (tmp_path / "merged").read_bytes() == expected


def test_a_subset_is_what_packing_less_gives(tmp_path: Path) -> None:
    builder(filler=30_000)[0].write(tmp_path / "all", overwrite=False)
    builder((Width(500),), ("coreml",), filler=30_000)[0].write(tmp_path / "less", overwrite=False)
    with SlimBundle.open(tmp_path / "all") as bundle:
        smaller = subset(BundleContent.of(bundle), targets=["coreml"], widths=[Width(500)])
        write_bundle(smaller, tmp_path / "subset", overwrite=False)
    assert (tmp_path / "subset").read_bytes() == (tmp_path / "less").read_bytes()


def test_widths_that_are_not_there_name_the_nearest(tmp_path: Path) -> None:
    builder()[0].write(tmp_path / "b", overwrite=False)
    with SlimBundle.open(tmp_path / "b") as bundle:
        with pytest.raises(WidthError, match=r"nearest are 0\.5 and 1\.0"):
            bundle.resolve(Width(600))
        with pytest.raises(UsageError, match="coreml, executorch"):
            bundle.variant("litert")
