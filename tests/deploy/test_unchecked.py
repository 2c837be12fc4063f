"""What cannot be checked on this machine is packed and told, and is neither right nor wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from blind_target import REASON
from small_checkpoint import small_checkpoint

from edgeslim import targets
from edgeslim.cli.main import main
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.strict_json import encode
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.deploy.verify import verify


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(targets.REGISTRY, "_added", {})
    targets.REGISTRY.add("blind", "blind_target:BlindTarget")
    report = pack(small_checkpoint(), PackOptions(targets=["reference", "blind"], out=tmp_path / "net.slim", jobs=1))
    rows = {row.target: row for row in report.rows}
    assert (rows["blind"].sqnr_db, rows["blind"].reason) == (None, REASON)
    assert rows["reference"].sqnr_db is not None
    assert {row["target"]: row.get("reason") for row in encode(report)["rows"]} == {
        "blind": REASON,
        "reference": None,
    }
    return report.bundle


def test_it_is_packed_rebuilt_and_told(bundle: Path) -> None:
    with SlimBundle.open(bundle) as opened:
        rows = verify(opened, count=1)
    blind = [row for row in rows if row.target == "blind"]
    assert blind
    assert all(row.hash_ok and row.ok and row.sqnr_db is None and row.reason == REASON for row in blind)
    assert all(row.checked and row.sqnr_db is not None for row in rows if row.target == "reference")


def test_it_is_wrong_only_when_asked_to_be(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle), "--images", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    found = {(row["target"], row["checked"], row.get("reason")) for row in document["rows"]}
    assert found == {("reference", True, None), ("blind", False, REASON)}
    assert main(["verify", str(bundle), "--images", "1", "--strict", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["ok"] is False
