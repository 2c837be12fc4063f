"""Which channels a net has: a count for every group of channels that can be cut.

    Width(500) ──┐                                   ┌─► its parameters   first channels of every master
                 ├─ model.selection ─► Selection ────┼─► its statistics   one set of means and variances
    vector, label┘                                   └─► its name         "0500", or the label of the vector

A width multiplier is one rule that gives such counts; a search over channels ("AutoSlim", 2019) gives others. Both
are the same kind of net, so everything that belongs to a net hangs on this value and not on a width's name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from edgeslim.core.width import Width
from edgeslim.errors import ModelError

_LABEL = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_NAME_OF_A_WIDTH = re.compile(r"\d{3,6}")


class Group(Protocol):
    """A named group of channels with a count at every width."""

    @property
    def name(self) -> str: ...

    def at(self, net: Width) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """Counts of all groups that can be cut; two with the same counts are the same net, whatever they are called.

    ``counts``: (name, channels), by name. ``listed``: the listed width whose private BatchNorms it uses (S family),
    else None; it is part of the net. ``label`` names the net: four digits of permille for a width, a word for a vector.
    ``width``: the width it was made for, None for a vector. Label and width do not count in comparisons.

    Raises:
        ModelError: a count below 1, or a label that is not made of ``a-z 0-9 _ . -``.
    """

    counts: tuple[tuple[str, int], ...]
    label: str
    listed: Width | None = None
    width: Width | None = None
    _by_name: dict[str, int] = field(init=False, repr=False)
    _hash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if _LABEL.fullmatch(self.label) is None:
            raise ModelError(f"a net's label is made of a-z, 0-9, '_', '.' and '-', got {self.label!r}")
        if self.width is None and _NAME_OF_A_WIDTH.fullmatch(self.label):
            raise ModelError(f"the label {self.label!r} reads like a width", hint="begin it with a letter")
        for name, count in self.counts:
            if type(count) is not int or count < 1:
                raise ModelError(f"{name} of net {self.label}: at least 1 channel, got {count!r}")
        object.__setattr__(self, "counts", tuple(sorted(self.counts)))
        object.__setattr__(self, "_by_name", dict(self.counts))
        object.__setattr__(self, "_hash", hash((self.counts, self.listed)))  # layers look nets up in dictionaries

    @classmethod
    def uniform(cls, groups: Iterable[Group], width: Width, *, listed: bool = False) -> Selection:
        """What ``width`` gives every one of ``groups`` (``model.groups()``)."""
        return cls(
            counts=tuple((group.name, group.at(width)) for group in groups),
            label=f"{width.permille:04d}",
            listed=width if listed else None,
            width=width,
        )

    @classmethod
    def of(cls, vector: Mapping[str, int], label: str) -> Selection:
        """Any counts, by the names of the groups."""
        return cls(counts=tuple(vector.items()), label=label)

    def __getitem__(self, name: str) -> int:
        """Channels of the group ``name``."""
        return self._by_name[name]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Selection) and (self.counts, self.listed) == (other.counts, other.listed)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew where it is unpickled: texts hash differently in every process."""
        return partial(Selection, counts=self.counts, label=self.label, listed=self.listed, width=self.width), ()

    def __str__(self) -> str:
        return self.label if self.width is None else str(self.width)

    @property
    def name(self) -> str:
        """What logs call it: the permille of its width, or its label."""
        return self.label if self.width is None else str(self.width.permille)

    @property
    def channels(self) -> int:
        """All counts added up: what nets are sorted by."""
        return sum(count for _, count in self.counts)

    @property
    def sha256(self) -> str:
        """Of the counts alone: equal for equal nets, on every machine."""
        lines = [f"{name}={count}\n" for name, count in self.counts]
        if self.listed is not None:
            lines.append(f"listed {self.listed.permille}\n")
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; widths as permille."""
        return {
            "label": self.label,
            "width": None if self.width is None else self.width.permille,
            "listed": None if self.listed is None else self.listed.permille,
            "counts": dict(self.counts),
        }

    @classmethod
    def from_json(cls, document: Any) -> Selection:
        """Read ``to_json``'s dictionary back.

        Raises:
            ModelError: a field is missing, unknown or of the wrong kind.
        """
        if not isinstance(document, Mapping) or set(document) != {"label", "width", "listed", "counts"}:
            raise ModelError("a net has label, width, listed and counts")
        label, counts = document["label"], document["counts"]
        if not isinstance(label, str) or not isinstance(counts, Mapping) or not all(isinstance(n, str) for n in counts):
            raise ModelError("a net has a label (text) and counts by name")
        width, listed = (None if document[key] is None else Width(document[key]) for key in ("width", "listed"))
        return cls(counts=tuple(counts.items()), label=label, width=width, listed=listed)


Net = Width | Selection
"""How callers name a net: by a width, or by its counts."""
