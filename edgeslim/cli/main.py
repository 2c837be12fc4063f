"""``edgeslim VERB …``: finds the verb's file, runs it, turns errors into exit codes.

    argv ─► LazyGroup ─► cli/<verb>.py: command ─► result on stdout
                              │ EdgeslimError
                              └► words + hint on stderr (or {"error": …} on stdout with --json), exit code

Exit codes: 0 done, 1 internal, 2 usage or bad input, 3 extra missing, 4 verification failed,
5 not possible on this host, 6 no such device, 130 and 143 stopped (Ctrl-C, SIGTERM).
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
import traceback
from dataclasses import dataclass, field
from types import FrameType

import click

from edgeslim.cli.printable import one_line, printable
from edgeslim.core.strict_json import LEFT_OUT
from edgeslim.errors import EdgeslimError, MissingExtraError, OutputError, StoppedError, UsageError, did_you_mean

# verb → one line; the file is cli/<verb>.py and holds a click command named ``command``.
VERBS = {
    "train": "train a slimmable network",
    "calibrate": "give every BatchNorm its own statistics at every width",
    "evaluate": "loss and accuracy of every net or artifact",
    "profile": "multiply-adds and parameters per width",
    "pack": "put every net, for every runtime, into one bundle",
    "inspect": "what is in a bundle and what each part costs",
    "subset": "a smaller bundle with some of the artifacts",
    "verify": "rebuild, run and compare every artifact",
    "export": "write one artifact as the runtime's own file",
    "bench": "measure every artifact on a device",
    "simulate": "replay a controller policy on a model of a device",
    "run": "run a bundle adaptively over a folder of images",
    "demo": "the whole road on a small data set",
}

# Which extra brings a third-party module that some verbs need; targets say theirs themselves.
EXTRA_OF_MODULE = {
    "torch": "train",
    "torchvision": "train",
    "sklearn": "train",
    "matplotlib": "plot",
    "psutil": "bench",
    "PIL": "images",
    "tensorboard": "tensorboard",
}


class LazyGroup(click.Group):
    """Lists verbs without importing them; answers unknown ones with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"edgeslim.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            hint = did_you_mean(args[0], VERBS)
            raise click.UsageError(f"No such verb {args[0]!r}." + (f" {hint.capitalize()}" if hint else ""), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeslim", prog_name="edgeslim")
def cli() -> None:
    """Slimmable networks on real devices: one bundle, every width, every runtime."""


def _missing(module: str) -> MissingExtraError | None:
    """What to install for ``module``; None for one that edgeslim does not ask for."""
    if module in EXTRA_OF_MODULE:
        return MissingExtraError(module, EXTRA_OF_MODULE[module])
    from edgeslim import targets

    for name in targets.names():
        with contextlib.suppress(EdgeslimError):
            info = targets.get(name).info
            for needs in (info.runtime, info.exporter):
                if module in needs.modules:
                    return MissingExtraError(module, needs.extra, package=needs.package)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a verb failed."""

    name: str
    """Stable, for programs: the kind of error, or the rule that was broken."""
    message: str
    """What was met, and what was expected."""
    hint: str | None
    """The next command, or what else helps; null: none known."""
    rule: str | None = field(default=None, metadata=LEFT_OUT)
    """The rule of FORMAT.md, PIXELS.md or of policies that the input breaks, where it is one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """What stands in the place of a result."""

    error: Failure
    """Why there is none."""


def _print(failure: Failure) -> None:
    from edgeslim.cli.console import print_document

    print_document(ErrorReport(error=failure))


def _fail(error: EdgeslimError, *, as_json: bool) -> int:
    if as_json:
        rule = getattr(error, "rule", None)
        _print(Failure(name=error.name, message=error.message, hint=error.hint, rule=rule))
    else:
        click.echo(one_line(f"{'stopped' if isinstance(error, StoppedError) else 'error'}: {error}"), err=True)
        if error.hint:
            click.echo(one_line(f"hint: {error.hint}"), err=True)
    return error.exit_code


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns the exit code (also the console script's entry)."""
    args = sys.argv[1:] if argv is None else argv
    as_json = "--json" in args
    try:
        code = cli.main(args=args, prog_name="edgeslim", standalone_mode=False)
    except EdgeslimError as error:
        return _fail(error, as_json=as_json)
    except click.Abort as error:
        click.echo("stopped", err=True)
        return 143 if isinstance(error.__cause__, Terminated) else 130
    except click.ClickException as error:
        if as_json:
            _print(Failure(name="usage", message=error.format_message(), hint=None))
        else:
            if isinstance(error, click.UsageError) and error.ctx is not None:
                click.echo(error.ctx.get_usage(), err=True)
            click.echo(one_line(f"error: {error.format_message()}"), err=True)
        return 2
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:  # the reader of our stdout went away, as in `edgeslim … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except ModuleNotFoundError as error:
        missing = _missing((error.name or "").partition(".")[0])
        if missing is not None:
            return _fail(missing, as_json=as_json)
        return _crash(error, as_json=as_json)
    except OSError as error:
        if error.errno is None:
            return _crash(error, as_json=as_json)
        return _fail(_said_by_the_system(error), as_json=as_json)
    except Exception as error:
        return _crash(error, as_json=as_json)
    return code if isinstance(code, int) else 0  # click returns the code of an Exit


def _said_by_the_system(error: OSError) -> EdgeslimError:
    """What no verb expected the system to refuse (the disk is full, a folder went away) is no fault of ours."""
    what = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return OutputError(f"{what}{error.strerror}", hint="free some space or choose another folder")
    return UsageError(f"{what}{error.strerror}")


def _crash(error: Exception, *, as_json: bool) -> int:
    """A fault of ours: the traceback goes to stderr, the contract's document to stdout."""
    click.echo(printable("".join(traceback.format_exception(error))), err=True, nl=False)
    if as_json:
        _print(Failure(name="internal", message=f"{type(error).__name__}: {error}", hint=None))
    return 1


class Terminated(KeyboardInterrupt):
    """SIGTERM: as Ctrl-C, files are closed, workers ended and temporary folders removed."""


def _terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


def run() -> None:
    """Console-script entry."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main())
