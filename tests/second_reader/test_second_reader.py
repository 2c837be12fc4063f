"""The golden bundles, read by a reader that shares nothing with edgeslim but the text of the format."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("edgeslim_second_reader", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


reader = load(Path(__file__).with_name("reader.py"))
BUNDLES = Path(__file__).parents[1] / "golden" / "bundles"
INDEX: dict[str, Any] = json.loads((BUNDLES / "index.json").read_text(encoding="utf-8"))


def content_of(golden: dict[str, Any]) -> bytes:
    stored = (BUNDLES / golden["path"]).read_bytes()
    return zlib.decompress(stored) if golden["path"].endswith(".z") else stored


def name_of(golden: dict[str, Any]) -> str:
    return Path(golden["path"]).name


@pytest.mark.parametrize("golden", INDEX["good"], ids=name_of)
def test_good_goldens_rebuild(golden: dict[str, Any]) -> None:
    data = content_of(golden)
    assert hashlib.sha256(data).hexdigest() == golden["sha256"]
    bundle = reader.Bundle(data)
    bundle.check("parts")
    bundle.check("files")
    assert bundle.artifacts() == [one["artifact"] for one in golden["artifacts"]]
    for one in golden["artifacts"]:
        files = bundle.rebuild(one["artifact"])
        assert {path: hashlib.sha256(content).hexdigest() for path, content in files.items()} == one["files"]


def refusal(read: Callable[..., object], *arguments: object) -> str | None:
    try:
        read(*arguments)
    except reader.Refused as refused:
        return str(refused.rule)
    return None


@pytest.mark.parametrize("golden", INDEX["bad"], ids=name_of)
def test_bad_goldens_are_refused(golden: dict[str, Any]) -> None:
    data = content_of(golden)
    at_open = refusal(reader.Bundle, data)
    found: dict[str, str | None] = dict.fromkeys(reader.DEPTHS, at_open)
    if at_open is None:
        bundle = reader.Bundle(data)
        found["rebuild"] = refusal(bundle.rebuild, golden["artifact"])
        found["parts"] = refusal(bundle.check, "parts")
        found["files"] = refusal(bundle.check, "files")
    assert found == {depth: golden["rule"] if depth in golden["refused"] else None for depth in reader.DEPTHS}


def test_every_golden_is_listed() -> None:
    listed = [golden["path"] for golden in INDEX["good"] + INDEX["bad"]]
    there = [path.relative_to(BUNDLES).as_posix() for path in BUNDLES.glob("*/*.slim*")]
    assert sorted(listed) == sorted(there)
