"""What a network was asked to be, as a value: everything needed to build it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from edgeslim.core.width import Width
from edgeslim.errors import ModelError

Norm = Literal["batch", "none"]
_RANGES = {"num_classes": (1, 10_000_000), "input_size": (4, 16_384), "in_channels": (1, 4096)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Name and settings of one slimmable network.

    ``low`` and ``high`` are the trained range; the master weights have the channels of ``high``. ``widths`` is empty
    for the universally slimmable family and lists the only usable widths, ascending, for the S family.
    ``input_size`` (pixels, square) decides the stem: see ``builder.strides``. ``package``: the distribution that brings
    the network, so that a file can say what to install.

    Raises:
        ModelError: a setting outside its range.
    """

    name: str
    num_classes: int
    input_size: int
    in_channels: int
    low: Width
    high: Width
    widths: tuple[Width, ...] = ()
    norm: Norm = "batch"
    package: str = "edgeslim"

    def __post_init__(self) -> None:
        for field, (smallest, largest) in _RANGES.items():
            value = getattr(self, field)
            if type(value) is not int or not smallest <= value <= largest:
                raise ModelError(f"{field} is a whole number from {smallest} to {largest}, got {value!r}"[:200])
        if self.norm not in ("batch", "none"):
            raise ModelError(f"norm is 'batch' or 'none', got {self.norm!r}")
        if self.low > self.high:
            raise ModelError(f"the narrowest width {self.low} is above the widest {self.high}")
        if self.widths:
            if tuple(sorted(set(self.widths))) != self.widths:
                raise ModelError("listed widths ascend and do not repeat")
            if (self.low, self.high) != (self.widths[0], self.widths[-1]):
                raise ModelError("low and high are the first and last of the listed widths")
            if self.norm != "batch":
                raise ModelError("the S family has a private BatchNorm per width: norm must be 'batch'")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; widths as permille."""
        return {
            "name": self.name,
            "num_classes": self.num_classes,
            "input_size": self.input_size,
            "in_channels": self.in_channels,
            "low": self.low.permille,
            "high": self.high.permille,
            "widths": [width.permille for width in self.widths],
            "norm": self.norm,
            "package": self.package,
        }

    @classmethod
    def from_json(cls, document: Any) -> ModelSpec:
        """Read ``to_json``'s dictionary back.

        Raises:
            ModelError: a field is missing, unknown or of the wrong kind.
        """
        fields = set(cls.__dataclass_fields__)
        if not isinstance(document, dict) or set(document) != fields:
            met = sorted(map(str, document))[:20] if isinstance(document, dict) else type(document).__name__
            raise ModelError(f"a model spec has the fields {sorted(fields)}, got {met}")
        if not isinstance(document["name"], str) or not isinstance(document["widths"], list | tuple):
            raise ModelError("a model spec has a name (text) and widths (a list)")
        if not isinstance(document["package"], str):
            raise ModelError("a model spec has a package (text)")
        return cls(
            name=document["name"],
            num_classes=document["num_classes"],
            input_size=document["input_size"],
            in_channels=document["in_channels"],
            low=Width(document["low"]),
            high=Width(document["high"]),
            widths=tuple(Width(permille) for permille in document["widths"]),
            norm=document["norm"],
            package=document["package"],
        )
