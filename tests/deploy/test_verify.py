"""verify: right files pass, wrong bytes and wrong numbers do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_checkpoint import WIDTHS, small_checkpoint

from edgeslim.cli.main import main
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.pixels import net_input
from edgeslim.core.width import Width
from edgeslim.data.named import load_data
from edgeslim.deploy.bundle_net import folded_net
from edgeslim.deploy.calibration.calibrate import CalibratedModel
from edgeslim.deploy.compare import Comparison, compare, fp16_floor_db, seeded_pixels
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.deploy.verify import image_of, pixels_of, verify
from edgeslim.errors import UsageError, WidthError
from edgeslim.tasks.classify import Classify


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "net.slim"
    pack(small_checkpoint(), PackOptions(targets=["reference"], out=path, jobs=1))
    return path


def test_the_bundle_alone_gives_the_folded_net_bit_for_bit(bundle: Path) -> None:
    calibrated = CalibratedModel.from_checkpoint(small_checkpoint())
    with SlimBundle.open(bundle) as opened:
        for width in WIDTHS:
            again, expected = folded_net(opened, opened.resolve(width)), calibrated.slice(width)
            for name, tensor in expected.state_dict().items():
                assert torch.equal(again.state_dict()[name], tensor), name


def test_a_whole_bundle_verifies(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle), "--json", "--data", "digits", "--images", "3"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert [(row["target"], row["permille"]) for row in document["rows"]] == [("reference", w.permille) for w in WIDTHS]
    for row in document["rows"]:
        assert row["hash_ok"]
        assert row["sqnr_db"] >= 90
        assert row["agreement"] == 1.0
        assert row["max_abs_error"] < 1e-3


NOISE = Comparison(sqnr_db=-200.0, max_abs_error=3.4e38, agreement=0.0, ties=1.0, changed=0.0)


def test_fp16_is_held_against_what_fp16_leaves_of_the_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit follows the net: rounding in PyTorch predicts the saved Core ML program within the slack."""
    checkpoint = small_checkpoint()
    pack(checkpoint, PackOptions(targets=["coreml"], nets=[Width(250)], out=tmp_path / "net.slim", jobs=1))
    with SlimBundle.open(tmp_path / "net.slim") as opened:
        images = seeded_pixels(4, height=16, width=16, channels=3)
        net, contract = folded_net(opened, opened.resolve(Width(250))), image_of(opened, "16")
        floor_db = fp16_floor_db(net, images, contract, Classify())
        (row,) = verify(opened, count=4)
        (strict,) = verify(opened, count=4, min_sqnr_db=floor_db + 10)
        monkeypatch.setattr("edgeslim.deploy.verify.fp16_floor_db", lambda *_, **__: -200.0)
        monkeypatch.setattr("edgeslim.deploy.verify.compare", lambda *_, **__: NOISE)
        (noise,) = verify(opened, count=4)
    assert 30 < floor_db < 70
    assert row.sqnr_db == pytest.approx(floor_db, abs=6)
    assert (row.ok, strict.ok, noise.ok) == (True, False, False)


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("halved") / "net.slim"
    pack(small_checkpoint(), PackOptions(targets=["coreml"], nets=[Width(250)], out=path, jobs=1))
    return path


def test_fp16_is_judged_on_256_real_images_and_fp32_on_8(halved: Path, bundle: Path) -> None:
    data = load_data("digits", "test", input_size=16, in_channels=3)
    assert len(data) > 256
    for path, wanted in ((halved, 256), (bundle, 8)):
        with SlimBundle.open(path) as opened:
            (row,) = verify(opened, widths=[Width(250)], data=data)
            (seeded,) = verify(opened, widths=[Width(250)])
            (asked,) = verify(opened, widths=[Width(250)], data=data, count=3)
        assert (row.images, seeded.images, asked.images) == (wanted, 8, 3)


@pytest.mark.parametrize(
    ("found", "ok", "said"),
    [
        ({"agreement": 1.0}, True, "the same answer as PyTorch on all 8 images"),
        (
            {"agreement": 0.75, "ties": 0.25},
            True,
            "the same answer as PyTorch on 6 of 8 images; on 2 of 8 PyTorch's two best are a tie at this precision",
        ),
        (
            {"agreement": 0.75, "ties": 0.125, "changed": 0.125},
            False,
            "45.0 dB, 1 of 8 answers changed (closer: pack with --coreml-precision auto, or fp32)",
        ),
        ({"agreement": 1.0, "sqnr_db": 5.0}, False, "5.0 dB, too far from PyTorch (closer: pack with --coreml-prec"),
    ],
)
def test_a_changed_answer_is_not_verified_and_the_remedy_is_named(
    halved: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: dict[str, float],
    ok: bool,
    said: str,
) -> None:
    figures = {"sqnr_db": 45.0, "max_abs_error": 0.1, "ties": 0.0, "changed": 0.0, **found}
    monkeypatch.setattr("edgeslim.deploy.verify.compare", lambda *_, **__: Comparison(**figures))
    assert main(["verify", str(halved), "--json"]) == (0 if ok else 4)
    printed = capsys.readouterr()
    words = " ".join(printed.err.split())
    assert said in words
    assert "fp16 was judged on 8 seeded images; how many answers it keeps shows on 256 real ones: add --data" in words
    document = json.loads(printed.out)
    assert document["data"] is None
    (row,) = document["rows"]
    assert (row["ok"], row["tie_share"], row["changed_share"]) == (ok, figures["ties"], figures["changed"])
    assert row.get("remedy") == (None if ok else "--coreml-precision auto, or fp32")


def test_wrong_bytes_exit_4(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray(bundle.read_bytes())
    with SlimBundle.open(bundle) as opened:
        begin = opened.header.data_start + opened.header.tensors["master/classifier.0.weight"].begin
    content[begin + 1] ^= 1
    damaged = tmp_path / "damaged.slim"
    damaged.write_bytes(content)
    assert main(["verify", str(damaged), "--widths", "0.25", "--json"]) == 4
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["ok"] is False
    assert document["rows"][0]["hash_ok"] is False
    assert document["rows"][0]["sqnr_db"] is None
    assert "another hash" in printed.err


def test_too_far_from_pytorch_exits_4(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SlimBundle.open(bundle) as opened:
        (row,) = verify(opened, widths=[Width(250)], min_sqnr_db=250.0)
    assert row.hash_ok
    assert not row.ok
    assert main(["verify", str(bundle), "--widths", "0.25", "--min-sqnr", "250"]) == 4
    assert "too far from PyTorch" in capsys.readouterr().err


def test_what_is_not_there_is_named(bundle: Path) -> None:
    with SlimBundle.open(bundle) as opened:
        with pytest.raises(UsageError, match="coreml"):
            verify(opened, targets_wanted=["coreml"])
        with pytest.raises(WidthError, match=r"0\.9"):
            verify(opened, widths=[Width(900)])
        with pytest.raises(UsageError, match="no artifact"):
            verify(opened, artifacts=["reference-fp32-16/0251"])


def test_images_of_a_data_set_are_its_own_pixels() -> None:
    data = load_data("digits", "test", input_size=16, in_channels=3)
    pixels = pixels_of(data, 4)
    assert len(pixels) == 4
    again, _ = next(data.subset(4).batches(4))
    np.testing.assert_array_equal(net_input(pixels[2], data.contract)[0], again[2].numpy())


def test_comparing_nothing_is_an_error(bundle: Path) -> None:
    with SlimBundle.open(bundle) as opened:
        net, contract = folded_net(opened, opened.resolve(Width(250))), image_of(opened, "16")
    with pytest.raises(ValueError, match="image"):
        compare(net, None, [], contract, Classify())  # type: ignore[arg-type]
