"""The Core AI asset: the same from every process, described, true to its hash, run from a notebook's loop too."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from target_nets import LABELS, SIZE, metadata, sliced

from edgeslim import targets
from edgeslim.core.width import Width
from edgeslim.errors import MissingExtraError
from edgeslim.targets.base import Artifact

WIDTH = Width(350)
EXAMPLES = {"image": torch.zeros(1, 3, SIZE, SIZE)}


def export(out: Path) -> Artifact:
    net = sliced("us_mobilenet_v2", WIDTH.permille)
    return targets.get("coreai").export(net, EXAMPLES, out, metadata=metadata(WIDTH), precision="fp32")


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = targets.get("coreai")
    try:
        target.info.ensure_available(exporting=True)
    except MissingExtraError as error:
        pytest.skip(str(error))
    artifact = export(tmp_path_factory.mktemp("coreai") / "net.aimodel")
    assert artifact.requires == {"ios": "27.0", "macos": "27.0"}
    return artifact.root


def test_nothing_in_it_is_of_today(asset: Path) -> None:
    about = json.loads((asset / "metadata.json").read_text(encoding="utf-8"))
    assert about["creationDate"] == "19700101T000000Z"
    assert list(about) == sorted(about)
    assert {path.name for path in asset.iterdir()} == {"main.mlirb", "main.hash", "metadata.json"}
    program = (asset / "main.mlirb").read_bytes()
    assert (asset / "main.hash").read_bytes() == hashlib.sha256(program).digest()
    assert b".py" not in program  # no place of Python source


def test_two_processes_write_the_same_bytes(asset: Path, tmp_path: Path) -> None:
    """Both seed Python's hashes differently, and the compiler draws its own seed in every process."""
    for seed in ("1", "2"):
        code = (
            "import pathlib, test_coreai_asset\n"
            f"test_coreai_asset.export(pathlib.Path({str(tmp_path / seed)!r}).with_suffix('.aimodel'))"
        )
        places = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": places}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    for file in ("main.mlirb", "main.hash", "metadata.json"):
        first, second, here = ((p / file).read_bytes() for p in (tmp_path / "1.aimodel", tmp_path / "2.aimodel", asset))
        assert first == second == here


def test_apples_own_reader_sees_the_metadata(asset: Path) -> None:
    from coreai.authoring import AIModelAsset

    about = AIModelAsset.load(asset).metadata
    assert (about.author, about.license) == ("Ann Author", "CC0-1.0")
    assert about.model_description == "A net for tests, ünïcode"


def test_every_weight_of_a_real_net_stands_verbatim(asset: Path) -> None:
    program = (asset / "main.mlirb").read_bytes()
    net = sliced("us_mobilenet_v2", WIDTH.permille)
    assert [name for name, value in net.named_parameters() if value.detach().numpy().tobytes() not in program] == []


def test_it_runs_inside_a_running_event_loop(asset: Path) -> None:
    async def notebook() -> np.ndarray:
        runner = targets.get("coreai").load(asset, threads=1)
        assert runner.describe().note == "" or "interpreter" in runner.describe().note
        found = runner.run({"image": np.zeros((1, 3, SIZE, SIZE), np.float32)})["logits"]
        runner.close()
        return found

    assert asyncio.run(notebook()).shape == (1, len(LABELS))
