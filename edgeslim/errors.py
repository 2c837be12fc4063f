"""Every error edgeslim raises on purpose.

    EdgeslimError                 exit code
    ├── InternalError             1   a promise inside edgeslim was broken (please report)
    │   └── ExportError           1   an exporter failed; names target and width, keeps its log
    ├── UsageError                2   bad option, bad argument, bad input file
    │   ├── WidthError            2   a width that cannot be parsed, is not listed, or is out of range
    │   ├── ModelError            2   unknown network, impossible settings
    │   ├── CheckpointError       2   unreadable, foreign or incomplete checkpoint
    │   ├── DataError             2   unknown or unusable data set
    │   ├── ImageError            2   an image or input breaks a rule of core/PIXELS.md; ``rule`` names it
    │   ├── FormatError           2   a bundle breaks a rule of core/FORMAT.md; ``rule`` names it
    │   ├── TableError            2   unusable latency table
    │   ├── PolicyError           2   a controller policy breaks a rule; ``rule`` names it
    │   └── OutputError           2   the result cannot be written (exists, not writable, disk full)
    ├── MissingExtraError         3   an optional dependency is missing; names the extra
    ├── VerificationError         4   a result is not what it has to be
    ├── HostError                 5   not possible on this host
    │   └── CannotCheckError      5   an artifact cannot be run or evaluated here; it may well be right
    ├── DeviceError               6   no such device, or it went away
    └── StoppedError            130   Ctrl-C, and what was done is kept; the hint goes on with it

An error says what it met, what it expected (``message``) and the next command (``hint``).
``name`` is stable, for programs: the class name in kebab-case without ``-error``, or the broken rule.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class EdgeslimError(Exception):
    """Base of all deliberate errors."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def name(self) -> str:
        """Stable machine-readable name, e.g. ``missing-extra``."""
        stem = type(self).__name__.removesuffix("Error")
        return re.sub(r"(?<!^)(?=[A-Z])", "-", stem).lower()


class InternalError(EdgeslimError):
    exit_code = 1


class ExportError(InternalError):
    pass


class UsageError(EdgeslimError):
    exit_code = 2


class WidthError(UsageError):
    pass


class ModelError(UsageError):
    pass


class CheckpointError(UsageError):
    pass


class DataError(UsageError):
    pass


class _RuleError(UsageError):
    """A broken rule with a published name."""

    def __init__(self, rule: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.rule = rule

    @property
    def name(self) -> str:
        return self.rule

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:  # keeps the rule when crossing processes
        return _rebuild_rule_error, (type(self), self.rule, self.message, self.hint)


def _rebuild_rule_error(cls: type[_RuleError], rule: str, message: str, hint: str | None) -> _RuleError:
    return cls(rule, message, hint=hint)


class FormatError(_RuleError):
    pass


class PolicyError(_RuleError):
    pass


class ImageError(_RuleError):
    pass


class TableError(UsageError):
    pass


class OutputError(UsageError):
    pass


class MissingExtraError(EdgeslimError):
    """An optional dependency is not installed; ``where`` names the machine if it is not this one.

    ``extra`` is one of ``package``'s, which is edgeslim or brings a plug-in; "" means the package itself.
    """

    exit_code = 3

    def __init__(self, module: str, extra: str, *, where: str | None = None, package: str = "edgeslim") -> None:
        install = f'pip install "{package}[{extra}]"' if extra else f"pip install {package}"
        super().__init__(
            f"{where or 'this'} needs the Python module {module!r}, which is not installed",
            hint=install if where is None else f"on {where}: {install}",
        )
        self.module = module
        self.extra = extra
        self.where = where
        self.package = package

    def __reduce__(self) -> tuple[object, ...]:  # keeps everything when crossing processes
        return _rebuild_missing_extra, (self.module, self.extra, self.where, self.package)


def _rebuild_missing_extra(module: str, extra: str, where: str | None, package: str) -> MissingExtraError:
    return MissingExtraError(module, extra, where=where, package=package)


class VerificationError(EdgeslimError):
    exit_code = 4


class HostError(EdgeslimError):
    exit_code = 5


class CannotCheckError(HostError):
    """An answer of its own about an artifact: neither right nor wrong, for a reason that lies in this machine."""


class DeviceError(EdgeslimError):
    exit_code = 6


class StoppedError(EdgeslimError):
    exit_code = 130


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint with the name of ``known`` that is nearest to ``name``; None where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else None
