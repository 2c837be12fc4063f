"""Bundles: written, opened, addressed, rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_bundle import INFO, WIDTHS, artifact, builder, counts, folds, segments_of, sources, variant

from edgeslim.core import addressing
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.cut import master_cut
from edgeslim.core.manifest import SlimManifest
from edgeslim.core.recipe import Rule
from edgeslim.core.width import Width
from edgeslim.errors import EdgeslimError, FormatError, OutputError, UsageError, WidthError
from edgeslim.press.build import BundleBuilder, MasterSet

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "bundles" / "good"


def files_in(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "options",
    [{}, {"weights": "f16"}, {"int8": True}, {"weights": "i8", "int8": True}, {"filler": 30_000}],
    ids=["f32", "f16", "int8", "i8", "blocks"],
)
def test_every_artifact_comes_back_byte_for_byte(tmp_path: Path, options: Any) -> None:
    made, contents = builder(**options)
    path = tmp_path / "tiny.slim"
    size = made.write(path, overwrite=False)
    assert size == path.stat().st_size
    with SlimBundle.open(path) as bundle:
        assert bundle.size_bytes == sum(bundle.parts().values()) == size
        bundle.check("files")
        for identifier, files in contents.items():
            out = tmp_path / identifier.replace("/", "-")
            done = bundle.rebuild_artifact(identifier, out)
            assert done.artifact == identifier
            there = files_in(out)
            assert there == files or list(there.values()) == list(files.values())  # a single file is called as asked
            assert {file.path: file.bytes for file in done.files} == {name: len(files[name]) for name in files}
            with pytest.raises(OutputError):
                bundle.rebuild_artifact(identifier, out)
            bundle.rebuild_artifact(identifier, out, overwrite=True)
            assert files_in(out) == there


def test_stock_safetensors_opens_a_bundle(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    made, _ = builder(weights="i8", int8=True)
    made.write(tmp_path / "tiny.slim", overwrite=False)
    tensors = load_file(tmp_path / "tiny.slim")
    with SlimBundle.open(tmp_path / "tiny.slim") as bundle:
        assert sorted(tensors) == sorted(bundle.header.tensors)
        for name, array in tensors.items():
            assert np.array_equal(array, bundle.tensor(name))


def test_same_content_same_bytes_in_any_order(tmp_path: Path) -> None:
    one, _ = builder(int8=True)
    two, _ = builder((Width(1000), Width(500)), ("executorch", "coreml"), int8=True)
    one.write(tmp_path / "one", overwrite=False)
    two.write(tmp_path / "two", overwrite=False)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_reader_has_a_limit_of_its_own_for_one_artifact(tmp_path: Path) -> None:
    made, contents = builder()
    made.write(tmp_path / "b", overwrite=False)
    sizes = {identifier: sum(map(len, files.values())) for identifier, files in contents.items()}
    largest = max(sizes, key=lambda identifier: sizes[identifier])
    with SlimBundle.open(tmp_path / "b") as bundle:
        bundle.max_artifact_bytes = sizes[largest]
        bundle.check("files")
        bundle.max_artifact_bytes -= 1
        bundle.check("parts")
        with pytest.raises(FormatError, match="too-large"):
            bundle.check("files")
        for identifier in contents:
            out = tmp_path / identifier.replace("/", "-")
            if identifier == largest:
                with pytest.raises(FormatError, match="too-large"):
                    bundle.rebuild_artifact(identifier, out)
                assert not out.exists()
            else:
                bundle.rebuild_artifact(identifier, out)  # the others stay usable


# Addressing


def addressed() -> SlimManifest:
    """Two widths and a labelled net; two precisions of ExecuTorch, Core ML only at full width."""
    masters = MasterSet(sources())
    made = BundleBuilder(INFO, masters)
    for width in (*WIDTHS, None):
        cut = masters.cut(counts(width or Width(750)))
        cuts = [master_cut(master, masters.parts, cut) for master in masters.masters]
        names: dict[str, Any] = (
            {"label": "searched"} if width is None else {"widths": (width, Width(width.permille + 1))}
        )
        net = made.add_net(cut, folds(cuts, 1), params=1, **names)
        packed, _ = artifact(made.constants(net), segments_of(made.constants(net), Rule.F32))
        for one in (variant(), variant(precision="fp16"), variant("coreml", precision="fp16")):
            if one.target != "coreml" or width == Width(1000):
                made.add_artifact(one, net, packed, macs=1)
    return made.content().manifest


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda m: addressing.by_id(m, "executorch-fp16-8/0500"), "executorch-fp16-8/0500"),
        (lambda m: addressing.by_id(m, "executorch-fp32-8/searched"), "executorch-fp32-8/searched"),
        (lambda m: addressing.one(m, "coreml", Width(1000)), "coreml-fp16-8/1000"),
        (lambda m: addressing.one(m, "coreml", 1001), "coreml-fp16-8/1000"),  # another name of it
        (lambda m: addressing.one(m, "executorch-fp16-8", 500), "executorch-fp16-8/0500"),
        (lambda m: addressing.one(m, "executorch", 501, "fp32-8"), "executorch-fp32-8/0500"),
        (lambda m: addressing.one(m, "executorch", "searched", "executorch-fp16-8"), "executorch-fp16-8/searched"),
        (lambda m: addressing.one(m, "coreml", addressing.nearest(m, "coreml", Width(4000))), "coreml-fp16-8/1000"),
    ],
)
def test_what_names_one_artifact(ask: Callable[[SlimManifest], Any], expected: str) -> None:
    one, entry = ask(addressed())
    assert f"{one.id}/{entry.net}" == expected


@pytest.mark.parametrize(
    ("ask", "error", "message", "hint"),
    [
        (
            lambda m: addressing.one(m, "executorch", 500),
            UsageError,
            r"2 artifacts fit: executorch-fp16-8/0500, executorch-fp32-8/0500",
            "--artifact",
        ),
        (
            lambda m: addressing.by_id(m, "executorch-fp32-8/050"),
            UsageError,
            r"no artifact 'executorch-fp32-8/050' in the bundle; it has coreml-fp16-8/1000, executorch",
            "did you mean 'executorch-fp32-8/0500'",
        ),
        (lambda m: addressing.by_id(m, "0500"), UsageError, "no artifact '0500'", ""),
        (lambda m: addressing.resolve(m, Width(600)), WidthError, r"no width 0\.6: the nearest are 0\.5 and 1\.0", ""),
        (
            lambda m: addressing.resolve(m, 400),
            WidthError,
            r"the nearest are 0\.5; the bundle has 0\.5, 1\.0",
            "choose",
        ),
        (lambda m: addressing.resolve(m, "serched"), WidthError, "no net 'serched'", "did you mean 'searched'"),
        (lambda m: addressing.one(m, "litert", 500), UsageError, "nothing for 'litert'; it has coreml, executor", ""),
        (lambda m: addressing.one(m, "executorch", 500, "fp23-8"), UsageError, "no variant 'fp23-8'", "did you mean"),
        (lambda m: addressing.one(m, "coreml", 500), WidthError, r"no width 0\.5.*coreml-fp16-8 has 1\.0", "choose"),
        (lambda m: addressing.one(m, "coreml", "searched"), WidthError, "no artifact of net searched; .* has 1000", ""),
        (lambda m: addressing.nearest(m, "executorch", Width(400)), WidthError, r"nearest are 0\.5", "choose"),
    ],
)
def test_what_names_none_or_several_says_what_there_is(
    ask: Callable[[SlimManifest], Any], error: type[EdgeslimError], message: str, hint: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        ask(addressed())
    assert hint in (caught.value.hint or "")


def test_the_bundle_answers_by_target_and_width(tmp_path: Path) -> None:
    with SlimBundle.open(GOLDEN / "tiny-f32.slim") as bundle:
        assert bundle.rebuild("executorch", Width(500), tmp_path / "a").artifact == "executorch-fp32-8/0500"
        assert bundle.artifact("coreml", 1000)[1].net == bundle.find("coreml-fp16-8/1000")[1].net == "1000"
        with pytest.raises(WidthError, match=r"nearest are 0\.5 and 1\.0"):
            bundle.resolve(Width(600))
