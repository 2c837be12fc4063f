"""``edgeslim profile``: the published counts, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeslim.cli.main import main
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.registry import create


def profile(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, Any]:
    code = main(["profile", *args, "--json"])
    return code, json.loads(capsys.readouterr().out)


# permille → (MACs, parameters): the slimmable papers' counts, and torchvision's MobileNetV2 parameters
PUBLISHED = {
    "us_mobilenet_v1": {250: (41_042_816, 470_072), 1000: (568_790_528, 4_231_976)},
    "us_mobilenet_v2": {
        350: (59_348_528, 1_677_128),
        500: (97_194_560, 1_968_680),
        750: (209_132_512, 2_636_424),
        1000: (300_836_992, 3_504_872),
    },
    "s_resnet50": {250: (278_110_720, 1_993_976), 1000: (4_089_284_608, 25_557_032)},
    "s_shufflenet": {500: (37_750_836, 718_324), 2000: (524_209_584, 5_450_776)},
}


LADDERS = {"us_mobilenet_v1": 31, "us_mobilenet_v2": 27, "s_resnet50": 4, "s_shufflenet": 3}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts_of_the_published_ladder(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = profile(capsys, "--model", name)
    assert code == 0
    assert (document["model"], document["input_size"], document["unsupported"]) == (name, 224, {})
    rows = {row["permille"]: (row["macs"], row["params"]) for row in document["rows"]}
    assert list(rows) == sorted(rows)
    assert len(rows) == LADDERS[name]
    assert rows.items() >= PUBLISHED[name].items()


def test_aliases_say_whose_net_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    _, document = profile(capsys, "us_mobilenet_v2", "--widths", "0.35,0.36,0.5")
    rows = document["rows"]
    assert [row["alias_of"] for row in rows] == [None, 350, None]
    assert rows[0]["channels_sha256"] == rows[1]["channels_sha256"] != rows[2]["channels_sha256"]


def test_layers_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    _, document = profile(capsys, "us_mobilenet_v1", "--widths", "0.5", "--layers")
    row = document["rows"][0]
    assert sum(layer["macs"] for layer in row["layers"]) == row["macs"]
    assert sum(layer["params"] for layer in row["layers"]) == row["params"]
    stem = row["layers"][0]
    assert (stem["name"], stem["macs"], stem["out_shape"]) == ("features.0.0", 3 * 16 * 9 * 112 * 112, [16, 112, 112])


def test_a_checkpoint_brings_its_own_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.pt"
    Checkpoint.from_model(create("us_mobilenet_v1", num_classes=10, input_size=32)).save(path)
    code, document = profile(capsys, str(path), "--widths", "2")
    assert code == 0
    assert (document["input_size"], [row["permille"] for row in document["rows"]]) == (32, [250, 1000])
    code, document = profile(capsys, str(path), "--classes", "5")
    assert (code, document["error"]["name"]) == (2, "usage")


@pytest.mark.parametrize(
    ("args", "name", "hint"),
    [
        (("us_mobilenet_v3",), "model", "did you mean 'us_mobilenet_v"),
        (("missing.pt",), "checkpoint", None),
        (("s_resnet50", "--widths", "0.3"), "width", None),
        (("us_mobilenet_v1", "--widths", "0.3333"), "width", "write widths like"),
    ],
)
def test_errors(args: tuple[str, ...], name: str, hint: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = profile(capsys, *args)
    assert (code, document["error"]["name"]) == (2, name)
    assert (hint or "") in (document["error"]["hint"] or "")


def test_the_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "us_mobilenet_v2", "--widths", "1.0"]) == 0
    assert "300,836,992" in capsys.readouterr().out
