"""Names of edgeslim, of other packages and of a script; the processes that pack know the same ones."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from plugins import install

from edgeslim import __version__, targets
from edgeslim.benchmark.desk import devices
from edgeslim.core.bundle import SlimBundle
from edgeslim.errors import DeviceError, MissingExtraError, UsageError
from edgeslim.registry import OWN, HandedOver, Origin, Registry
from edgeslim.targets.info import Needs

sys.path.insert(0, str(Path(__file__).parent / "deploy"))
from small_checkpoint import small_checkpoint

PLUGIN = Origin(distribution="edgeslim-example-plugin", version="1.2.3")


def test_edgeslims_own_come_from_edgeslim() -> None:
    assert targets.REGISTRY.entry("litert").origin == OWN == Origin(distribution="edgeslim", version=__version__)
    assert targets.REGISTRY.entry("tflite").name == "litert"
    assert "reference" not in targets.names()
    assert targets.get("reference").info.name == "reference"


def test_an_installed_package_brings_more(plugin: Path) -> None:
    assert targets.names() == ("executorch", "coreml", "coreai", "litert", "broken", "example")
    assert targets.get("example").info.suffix == ".example"
    assert targets.get("exemplar").info.name == "example"
    assert targets.REGISTRY.entry("example").origin == PLUGIN
    assert devices.get("shelf:3").name == "shelf:3"


def test_a_plug_in_that_cannot_be_imported_is_named_and_hurts_nobody_else(plugin: Path) -> None:
    with pytest.raises(UsageError, match=r"'broken' of edgeslim-example-plugin 1\.2\.3 .*OldThing") as caught:
        targets.get("broken")
    assert "edgeslim-example-plugin" in (caught.value.hint or "")
    assert targets.get("tflite").info.name == "litert"  # aliases are looked for in every target
    assert targets.words() == "executorch, coreml, coreai, litert (or tflite), broken, example (or exemplar)"


def test_what_a_plug_in_misses_is_its_own_packages(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = replace(targets.get("example").info, runtime=Needs(package="my-package", extra="run", modules=("no_such",)))
    with pytest.raises(MissingExtraError) as caught:
        info.ensure_available(exporting=False)
    assert caught.value.hint == 'pip install "my-package[run]"'
    crossed = pickle.loads(pickle.dumps(MissingExtraError("m", "", where="board", package="mine")))
    assert (crossed.where, crossed.package, crossed.hint) == ("board", "mine", "on board: pip install mine")


def test_two_packages_with_one_name_are_refused(plugin: Path) -> None:
    install(plugin, name="edgeslim-other")
    code = f"import sys; sys.path.insert(0, {str(plugin)!r}); from edgeslim import targets; targets.get('example')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "both bring a target 'example'" in done.stderr


def test_unknown_names_have_a_hint() -> None:
    with pytest.raises(UsageError, match="there are executorch, coreml, coreai, litert") as caught:
        targets.get("executorhc")
    assert caught.value.hint == "did you mean 'executorch'?"
    with pytest.raises(DeviceError, match="no device 'adbb'") as found:
        devices.get("adbb:1")
    assert found.value.hint == "did you mean 'adb'?"


def test_a_script_adds_by_module_and_attribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_things.py").write_text("thing = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[int] = Registry("number", "edgeslim.test-numbers", {"nine": "my_things:nine"})
    registry.add("seven", "my_things:thing")
    assert registry.get("seven") == 7
    assert registry.names() == ("nine", "seven")
    assert registry.entry("seven").origin.distribution == "my_things"
    for name, where in (("nine", "my_things:thing"), ("eight", "my_things")):
        with pytest.raises(UsageError, match="cannot add"):
            registry.add(name, where)
    handed = HandedOver.now()
    assert handed.added["edgeslim.test-numbers"] == {"seven": "my_things:thing"}
    monkeypatch.setattr(sys, "path", [])
    later: Registry[int] = Registry("number", "edgeslim.test-numbers", {})
    handed.take()
    assert later.get("seven") == 7


def test_workers_know_what_the_parent_knows(plugin: Path, tmp_path: Path) -> None:
    """Two processes of their own export with a target that only this process's import path has."""
    from edgeslim.deploy.pack import pack
    from edgeslim.deploy.pack_plan import PackOptions
    from edgeslim.deploy.verify import verify

    out = tmp_path / "net.slim"
    report = pack(
        small_checkpoint(),
        PackOptions(targets=["example"], out=out, jobs=2, target_options={"example": {"colour": "red"}}),
    )
    assert {row.target for row in report.rows} == {"example"}
    with SlimBundle.open(out) as bundle:
        (variant,) = bundle.manifest.variants
        assert variant.suffix == ".example"
        assert variant.exporters["edgeslim-example-plugin"] == "1.2.3"
        assert all(row.ok for row in verify(bundle, count=1))


def test_options_reach_only_their_target(plugin: Path, tmp_path: Path) -> None:
    from edgeslim.deploy.pack import pack
    from edgeslim.deploy.pack_plan import PackOptions

    for options, message in (
        ({"example": {"color": "red"}}, "no option 'color'"),
        ({"litert": {"colour": "red"}}, "litert, which is not among the targets"),
    ):
        with pytest.raises(UsageError, match=message):
            pack(
                small_checkpoint(),
                PackOptions(targets=["example"], out=tmp_path / "net.slim", target_options=options),
            )
