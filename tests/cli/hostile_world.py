"""A folder of good inputs for every verb, and the command lines that use them."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image

from edgeslim.cli.main import VERBS, cli
from edgeslim.core.policy import PRESETS

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "deploy"))
sys.path.insert(0, str(TESTS / "bench"))

from small_checkpoint import small_checkpoint  # noqa: E402
from table_rows import DEVICE, row, table  # noqa: E402


def make_world(folder: Path, *, model: str = "board") -> Path:
    """``net.slim net.pt table.json policy.json log.jsonl labels.txt images/ data/``; ``model``: the table's device."""
    shutil.copy(TESTS / "golden" / "bundles" / "good" / "tiny-f32.slim", folder / "net.slim")
    small_checkpoint().save(folder / "net.pt")
    device = dataclasses.replace(DEVICE, model=model)
    rows = [row(4.0 * width / 500, seed=width, width_permille=width, device=device) for width in (500, 1000)]
    table(*rows).write(folder / "table.json")
    (folder / "policy.json").write_text(PRESETS["quality"].to_json())
    (folder / "labels.txt").write_text("a\nb\nc\nd\n")
    pixels = np.zeros((16, 16, 3), np.uint8)
    for place in ("images", *(f"data/{split}/{label}" for split in ("train", "test") for label in "abcd")):
        (folder / place).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / place / "0.png")
    return folder


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for verb in VERBS:
        command = cli.get_command(context, verb)
        assert command is not None
        yield verb, command


def name_of(parameter: click.Parameter) -> str:
    """As it is typed: the longest of an option's names, an argument's own."""
    return max(parameter.opts, key=len)


def line(verb: str, world: Path, changes: dict[str, str | None]) -> list[str]:
    """A command line of ``verb`` on the world's files, with some options given, exchanged or left out (None). Results
    go into the current folder."""
    w = {name: str(world / name) for name in ("net.slim", "net.pt", "table.json", "images")}
    data = f"folder:{world / 'data'}"
    artifact = "executorch-fp32-8/0500"
    usual: dict[str, dict[str, str | None]] = {
        "train": {"--model": "us_mobilenet_v1", "--data": data, "--out": "out.pt"},
        "calibrate": {"checkpoint": w["net.pt"], "--data": data, "--out": "out.pt"},
        "evaluate": {"source": w["net.pt"], "--data": data},
        "profile": {"source": w["net.pt"]},
        "pack": {"checkpoint": w["net.pt"], "--target": "reference", "--out": "out.slim"},
        "inspect": {"bundle": w["net.slim"]},
        "subset": {"bundle": w["net.slim"], "--out": "out.slim"},
        "verify": {"bundle": w["net.slim"]},
        "export": {"bundle": w["net.slim"], "--artifact": artifact, "--out": "out.bin"},
        "bench": {"--show": w["table.json"]},
        "simulate": {"table": w["table.json"], "--minutes": "0.1"},
        "run": {"bundle": w["net.slim"], "--images": w["images"]},
        "demo": {"--out": "demo"},
    }
    given = usual[verb] | changes
    there = {name: value for name, value in given.items() if value is not None}
    options = [f"{name}={value}" for name, value in there.items() if name.startswith("--")]
    return [verb, *options, *(value for name, value in there.items() if not name.startswith("--"))]
