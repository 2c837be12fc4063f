"""What a target says about itself: everything that the rest of edgeslim knows about it.

    TargetInfo
    ├── Precision …   name, dtypes, the stored forms the recipe finder may meet, Limits of verification
    ├── Needs         exporter and runtime: modules, the extra that brings them
    └── platforms, preference, memory

Nothing outside ``targets/`` knows a target by name: what differs between targets is a field here.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeslim.core.recipe import Rule
from edgeslim.errors import MissingExtraError, UsageError, did_you_mean

Platform = Literal["linux", "macos", "windows", "android", "ios"]
_PLATFORMS: dict[str, Platform] = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}
_DESKTOPS: tuple[Platform, ...] = ("linux", "macos", "windows")
EVERYWHERE: tuple[Platform, ...] = (*_DESKTOPS, "android", "ios")

FEW = 8  # images that show whether a file computes the net at all


def this_platform() -> Platform | None:
    """The one this Python runs on; None for one that is not in the list."""
    return _PLATFORMS.get(platform.system())


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a comparison with the folded PyTorch net must show.

    Args:
        images: real images that a judgement rests on, where there are any: an answer in a hundred is not seen on eight.
        min_sqnr_db: of the worst image.
        min_clear: least share of the images whose answer is the same or a tie (``tasks.base.Closeness``).
        slack_db: a net that loses more to the rounding of the precision itself is close enough down to so much below
            what rounding leaves of it, but never below ``least_db``: faithful noise is no answer.
    """

    min_sqnr_db: float
    images: int = FEW
    min_clear: float = 1.0
    slack_db: float | None = None
    least_db: float = 10.0

    def close_enough(self, sqnr_db: float, rounding_db: Callable[[], float]) -> bool:
        """Whether ``sqnr_db`` is right; ``rounding_db`` (what rounding leaves of the net) is asked only if needed."""
        if sqnr_db >= self.min_sqnr_db or self.slack_db is None:
            return sqnr_db >= self.min_sqnr_db
        return sqnr_db >= max(rounding_db() - self.slack_db, self.least_db)


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """One way to write a net: dtypes of weights and activations as manifests name them (``f32``, ``f16``, ``i8``).

    ``stored``: the dtype rules by which constants may stand in the file, most likely first. ``remedy``: what to pack
    instead where it changes answers ("": nothing is closer).
    """

    name: str
    weights: str
    activations: str
    stored: tuple[Rule, ...]
    limits: Limits
    remedy: str = ""


# Calibrated nets were measured at 110 dB and more in fp32, trained ones at 40 to 65 dB in fp16: the rounding of fp16
# alone costs about 50 dB, and more in nets that amplify.
FP32 = Precision(name="fp32", weights="f32", activations="f32", stored=(Rule.F32,), limits=Limits(min_sqnr_db=60.0))
FP16 = Precision(
    name="fp16",
    weights="f16",
    activations="f16",
    stored=(Rule.F16, Rule.F32),
    limits=Limits(min_sqnr_db=40.0, images=256, slack_db=6.0),
    remedy="--precision fp32",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Python modules that must be there, and the ``extra`` of ``package`` that brings them ("": the package itself).

    ``preload``: modules to import before a clock runs. An app has its runtime linked in, so Python's import is no part
    of a load.
    """

    extra: str
    package: str = "edgeslim"
    modules: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """One runtime and its file format.

    Args:
        name: as people type it and manifests keep it; ``aliases``: what else they may type.
        suffix: of the artifact's root, ``.pte``; ``directory``: the root is a folder.
        precisions: the first is the default.
        normalisation: name of what is done to the exporter's bytes so that equal nets give equal bytes.
        platforms: where the runtime itself runs, so that a latency means something; elsewhere files may be evaluated.
        preference: of several targets that run here, a session takes the one with the highest.
        export_bytes, run_bytes: memory to reserve for a process that exports, or runs, one artifact.
        options: settings that only this target understands, name → what it is; they pass through ``pack`` untouched.
    """

    name: str
    aliases: tuple[str, ...] = ()
    suffix: str
    directory: bool = False
    precisions: tuple[Precision, ...] = (FP32,)
    normalisation: str = "none"
    exporter: Needs
    runtime: Needs
    platforms: tuple[Platform, ...]
    preference: int = 0
    export_bytes: int = 2 << 30
    run_bytes: int = 200 << 20
    options: Mapping[str, str] = field(default_factory=dict)

    def precision(self, name: str | None = None) -> Precision:
        """The precision called ``name``, or the default.

        Raises:
            UsageError: the target does not write it.
        """
        if name is None:
            return self.precisions[0]
        for precision in self.precisions:
            if precision.name == name:
                return precision
        known = " or ".join(precision.name for precision in self.precisions)
        raise UsageError(f"the {self.name} target writes {known}, not {name!r}")

    def ensure_available(self, *, exporting: bool) -> None:
        """Raises MissingExtraError if this Python cannot export (or, with ``exporting=False``, run)."""
        needs = self.exporter if exporting else self.runtime
        for module in needs.modules:
            if importlib.util.find_spec(module) is None:
                raise MissingExtraError(module, needs.extra, package=needs.package)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raises UsageError for a setting that this target does not have."""
        for name in options:
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise UsageError(
                    f"the {self.name} target has no option {name!r}; it has {known}",
                    hint=did_you_mean(name, self.options),
                )

    @property
    def runs_here(self) -> bool:
        """Whether the runtime itself runs on this platform (installed or not)."""
        return this_platform() in self.platforms
