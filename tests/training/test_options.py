"""The options of a run: one list for the command line, Python and args.json."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgeslim.cli.train import command
from edgeslim.errors import UsageError
from edgeslim.training.options import TrainOptions, read_args

OF_A_CALL = {"out", "resume", "overwrite", "config", "as_json", "quiet", "verbose"}


def test_the_command_line_has_the_same_options_with_the_same_defaults() -> None:
    parameters = {parameter.name: parameter for parameter in command.params if parameter.name not in OF_A_CALL}
    fields = {field.name: field.default for field in dataclasses.fields(TrainOptions)}
    assert parameters.keys() == fields.keys()
    context = command.make_context("train", ["-o", "us.pt"])
    assert {name: context.params[name] for name in fields} == fields


def test_every_option_says_what_it_is_and_its_default() -> None:
    for parameter in command.params:
        said = getattr(parameter, "help", "") or ""
        assert said, parameter.name
        flag = getattr(parameter, "is_flag", False)
        shown = getattr(parameter, "show_default", False) or "[default" in said
        without = {
            "alone",
            "tensorboard",
            "config",
            "out",
            "trained_widths",
        }  # nothing happens without them, or nothing works
        assert flag or shown or parameter.name in without, parameter.name


def test_args_read_back(tmp_path: Path) -> None:
    options = TrainOptions(model="us_resnet18", widths="0.5:1.0", lr=0.05, no_distill=True, val_images=0)
    path = tmp_path / "us.args.json"
    options.write(path, tmp_path / "us.pt")
    document = read_args(path)
    assert document.pop("out") == str(tmp_path / "us.pt")
    assert TrainOptions(**document) == options


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"epoch": 3}', "unknown option 'epoch'"),
        ('{"epochs": "3"}', "epochs"),
        ('{"epochs": true}', "epochs"),
        ('{"out": 3}', "out: expected text"),
        ('{"optimizer": "lion"}', "expected one of sgd, adamw"),
        ('{"lr": NaN}', "NaN"),
        ('{"seed": 1, "seed": 2}', "twice"),
        ("\xff", "holds no options"),
        (" " * ((1 << 20) + 1), "cannot read the options"),
    ],
)
def test_other_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "us.args.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=words):
        read_args(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json", Path("/dev/zero")):
        with pytest.raises(UsageError, match="cannot read the options"):
            read_args(path)


def test_a_typing_error_is_named(tmp_path: Path) -> None:
    path = tmp_path / "us.args.json"
    path.write_text(json.dumps({"batchsize": 3}))
    with pytest.raises(UsageError) as caught:
        read_args(path)
    assert caught.value.hint == "did you mean 'batch_size'?"
