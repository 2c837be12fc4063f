"""A package that brings a network, a task, a data set and a target: the whole road, by its names alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from plugins import install

import edgeslim
from edgeslim import data, models, tasks
from edgeslim.core.bundle import SlimBundle
from edgeslim.data.named import load_data
from edgeslim.errors import DataError, EdgeslimError, ModelError, UsageError
from edgeslim.models.checkpoint import load_checkpoint
from edgeslim.models.registry import create, make_spec
from edgeslim.registry import OWN
from edgeslim.testing import check_network

pytestmark = pytest.mark.long

PACKAGE = "edgeslim-example-plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("plugin") / "site")


def python(site: Path | None, *args: object) -> subprocess.CompletedProcess[str]:
    """A Python of an environment with the plug-in, or without."""
    places = [*([] if site is None else [str(site)]), str(Path(edgeslim.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def document(site: Path | None, *args: object) -> Any:
    done = python(site, "-m", "edgeslim", *args, "--json", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def road(site: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Everything that the commands wrote and said."""
    folder, said = tmp_path_factory.mktemp("road"), {}
    net, again, bundle = folder / "net.pt", folder / "again.pt", folder / "net.slim"
    said["train"] = document(
        site,
        *("train", "--model", "example_branches", "--data", "example_stripes:48", "--task", "example_rank"),
        *("--widths", "0.25:1.0", "--ladder", "2", "--epochs", "4", "--batch-size", "16", "--lr", "0.05", "-o", net),
    )
    said["calibrate"] = document(
        site, "calibrate", net, "--data", "example_stripes", "--widths", "0.25,0.6,1.0", "-o", again
    )
    said["evaluate"] = document(site, "evaluate", again, "--data", "example_stripes", "--write")
    said["pack"] = document(site, "pack", again, "--target", "example", "--jobs", "2", "-o", bundle)
    said["verify"] = document(site, "verify", bundle, "--data", "example_stripes", "--images", "3")
    said["bench"] = document(
        site,
        *("bench", bundle, "--target", "example", "--device", "host", "-o", folder / "table.json"),
        *("--runs", "3", "--seconds", "0.1", "--retries", "0", "--cool-wait", "1"),
    )
    return folder, said


def test_the_network_keeps_its_promises(plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    torch.manual_seed(0)
    check_network(create("example_branches", num_classes=3, input_size=32), tmp_path / "packed")


def test_training_measures_by_the_plug_ins_metric(road: tuple[Path, dict[str, Any]]) -> None:
    _, said = road
    for verb in ("train", "evaluate"):
        assert all(row["metric"] == "rank" and row["value"] == row["rank"] for row in said[verb]["rows"])
    # of three classes, guessing gives (1 + 1/2 + 1/3) / 3 = 0.61
    assert said["train"]["rows"][-1]["value"] > 0.7


def test_files_say_what_they_need(road: tuple[Path, dict[str, Any]], plugin: Path) -> None:
    folder, said = road
    checkpoint = load_checkpoint(folder / "again.pt")
    assert (checkpoint.spec.name, checkpoint.spec.package) == ("example_branches", PACKAGE)
    assert (checkpoint.task, checkpoint.task_package) == ("example_rank", PACKAGE)
    with SlimBundle.open(folder / "net.slim") as bundle:
        manifest = bundle.manifest
    assert manifest.task == "classify"
    assert manifest.task_spec == {"name": "example_rank", "package": PACKAGE, "version": "1.2.3"}
    (variant,) = manifest.variants
    assert variant.exporters[PACKAGE] == "1.2.3"
    values = {row["permille"]: row["value"] for row in said["evaluate"]["rows"]}
    for artifact in variant.artifacts:
        quality = artifact.quality
        assert quality is not None
        assert (quality.metric, quality.larger_is_better) == ("rank", True)
        assert float(quality.value) == pytest.approx(values[int(artifact.net)], abs=1e-8)


def test_files_are_verified_and_measured(road: tuple[Path, dict[str, Any]]) -> None:
    folder, said = road
    assert said["verify"]["ok"]
    names = [f"example-fp32-16/{net}" for net in ("0250", "0600", "1000")]
    assert [row["artifact"] for row in said["verify"]["rows"]] == names
    table = json.loads((folder / "table.json").read_text())
    assert {row["artifact"] for row in table["rows"]} == set(names)
    assert table["quality"]["metric"] == "rank"


def test_without_the_package_files_name_it(road: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = road
    for verb, file in (("calibrate", "again.pt"), ("verify", "net.slim")):
        done = python(
            None, "-m", "edgeslim", verb, folder / file, "--data", "digits", *(["--overwrite"] * (verb != "verify"))
        )
        assert done.returncode == 2, done.stderr
        assert f"pip install {PACKAGE}" in done.stderr


def test_help_lists_what_is_installed_and_loads_none_of_it(site: Path) -> None:
    code = (
        "import sys; from edgeslim.cli.main import main\n"
        "for verb in ('train', 'calibrate', 'profile', 'pack', 'verify'): main([verb, '--help'])\n"
        "names = {name.split('.')[0] for name in sys.modules}\n"
        "assert 'torch' not in names, 'torch'\n"
    )
    done = python(site, "-c", code)
    assert done.returncode == 0, done.stderr
    train, calibrate, profile, pack, verify = "".join(done.stdout.split()).split("Usage:")[1:]
    for text, words in (
        (train, ("example_branches", "example_rank", "example_stripes", "us_mobilenet_v2", "classify", "folder:PATH")),
        (calibrate, ("example_stripes", "imagenet")),
        (profile, ("example_branches", "s_resnet50")),
        (pack, ("example_stripes", "cifar10")),
        (verify, ("example_stripes", "cifar10")),
    ):
        assert all(word in text for word in words), text


def test_the_metric_is_arithmetic(plugin: Path) -> None:
    """Right classes at place 1, 2 and 3: (1 + 1/2 + 1/3) / 3."""
    metric = tasks.get("example_rank").metric()
    metric.add({"logits": torch.tensor([[3.0, 2.0, 1.0]] * 3)}, torch.tensor([0, 1, 2]))
    assert metric.result() == {"rank": pytest.approx(11 / 18)}


def test_names_of_edgeslim_and_of_the_package(plugin: Path) -> None:
    assert models.names()[:2] == ("us_mobilenet_v1", "us_mobilenet_v2")
    assert "example_branches" in models.names()
    assert (make_spec("us_resnet18").package, make_spec("example_branches").package) == ("edgeslim", PACKAGE)
    assert tasks.REGISTRY.entry("classify").origin == OWN
    assert tasks.get("classify").bundle_task == tasks.get("example_rank").bundle_task == "classify"
    assert data.words().startswith("digits, cifar10, cifar100, fashion_mnist, imagenet, folder:PATH")
    found = load_data("example_stripes:12", "test", in_channels=1)
    assert (len(found), found.input_size, found.num_classes) == (12, 16, 3)
    assert len(load_data("example_stripes", "train", images=7)) == 7


@pytest.mark.parametrize(
    ("kind", "name", "error", "words", "hint"),
    [
        ("network", "us_mobilenet_v9", ModelError, "no network", "did you mean 'us_mobilenet_v"),
        ("network", "zzz", ModelError, "no network", "edgeslim.networks"),
        ("network", "example_broken", ModelError, "OldThing", PACKAGE),
        ("network", "example_wrong", ModelError, "is a tuple, expected a Network", PACKAGE),
        ("task", "clasify", UsageError, "no task", "did you mean 'classify'"),
        ("task", "zzz", UsageError, "no task", "edgeslim.tasks"),
        ("task", "example_misnamed", UsageError, "says name 'example_rank'", PACKAGE),
        ("data", "example_stripe", DataError, "no data set", "did you mean 'example_stripes'"),
        ("data", "zzz", DataError, "no data set", "folder:PATH"),
        ("data", "digits:5", DataError, "takes nothing after its name", "--data digits"),
        ("data", "example_nothing", DataError, "gave a str, expected an ImageSet", PACKAGE),
    ],
)
def test_refusals(plugin: Path, kind: str, name: str, error: type[EdgeslimError], words: str, hint: str) -> None:
    asks: dict[str, Callable[[str], object]] = {
        "network": create,
        "task": tasks.get,
        "data": lambda name: load_data(name, "train"),
    }
    ask = asks[kind]
    with pytest.raises(error, match=words) as caught:
        ask(name)
    assert hint in (caught.value.hint or "")


def test_two_packages_with_one_name_are_refused(plugin: Path) -> None:
    install(plugin, name="edgeslim-other")
    for ask, error, words in (
        (lambda: create("example_branches"), ModelError, "both bring a network 'example_branches'"),
        (lambda: tasks.get("example_rank"), UsageError, "both bring a task 'example_rank'"),
        (lambda: load_data("example_stripes", "train"), DataError, "both bring a data set 'example_stripes'"),
    ):
        with pytest.raises(error, match=words) as caught:
            ask()
        assert caught.value.hint == "uninstall one of them"
