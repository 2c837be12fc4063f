"""Things by name: edgeslim's own, those of other installed packages, and those that a script adds.

    Registry("target", "edgeslim.targets", own)
      ├── own          name → "module:attribute", imported when asked for
      ├── entry points of the group, from any installed distribution; likewise
      └── add(name, "module:attribute"): this process's, and by ``HandedOver`` its workers'

edgeslim's own names always win, so that no package can change what they mean; a name that two packages bring is
refused with both named. Every entry has an origin, which bundles name among their exporters.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar, cast

from edgeslim import __version__
from edgeslim.errors import EdgeslimError, UsageError, did_you_mean

T = TypeVar("T")

_REGISTRIES: dict[str, Registry[object]] = {}  # group → the one registry of that kind
_WAITING: dict[str, dict[str, str]] = {}  # in a worker: group → names for a registry that is not imported yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which installed distribution brings something; its version as ``pip`` shows it."""

    distribution: str
    version: str


OWN = Origin(distribution="edgeslim", version=__version__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name; ``where`` is ``module:attribute``."""

    name: str
    where: str
    origin: Origin


class Registry(Generic[T]):
    """One kind of thing by name.

    Args:
        kind: what one is called in messages: ``target``.
        group: the entry points that bring more of them: ``edgeslim.targets``.
        own: name → ``module:attribute``.
        hidden: names among ``own`` that are for tests; ``get`` knows them, ``names`` does not list them.
        aliases: other names of a thing, which only the thing itself knows.
        error: what is raised about a name.
        otherwise: the hint about a name that is near to none.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        own: Mapping[str, str],
        *,
        hidden: Iterable[str] = (),
        aliases: Callable[[T], Iterable[str]] = lambda thing: (),
        error: type[EdgeslimError] = UsageError,
        otherwise: str | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self._own = {name: Entry(name=name, where=where, origin=OWN) for name, where in own.items()}
        self._hidden = frozenset(hidden)
        self._aliases = aliases
        self._error = error
        self._otherwise = otherwise or f"other packages bring more (entry points {group}): install the one with it"
        self._added: dict[str, Entry] = {}
        _REGISTRIES[group] = cast("Registry[object]", self)
        for name, where in _WAITING.pop(group, {}).items():
            self.add(name, where)

    def names(self) -> tuple[str, ...]:
        """What people choose from: edgeslim's own in their order, then the others by name. Imports none of them."""
        others = {*self._added, *(entry.name for entry in _installed(self.group, tuple(sys.path)))} - self._own.keys()
        return (*(name for name in self._own if name not in self._hidden), *sorted(others))

    def get(self, name: str, *, package: str | None = None) -> T:
        """The thing called ``name``, imported now.

        Args:
            package: the distribution that a file says it comes from, for the hint where it is not installed.

        Raises:
            EdgeslimError: the registry's own error: there is no such name (the hint has the nearest), two packages
                bring it, or it cannot be imported.
        """
        return self._load(self.entry(name, package=package))

    def entry(self, name: str, *, package: str | None = None) -> Entry:
        """Where ``name``, or the thing with that alias, comes from.

        Raises:
            EdgeslimError: as ``get``.
        """
        if (own := self._own.get(name) or self._added.get(name)) is not None:
            return own
        brought = [entry for entry in _installed(self.group, tuple(sys.path)) if entry.name == name]
        if len(brought) > 1:
            packages = " and ".join(entry.origin.distribution for entry in brought)
            raise self._error(f"{packages} both bring a {self.kind} {name!r}", hint="uninstall one of them")
        if brought:
            return brought[0]
        aliases = self._by_alias()
        if name in aliases:
            return aliases[name]
        raise self._error(
            f"no {self.kind} {name!r}: there are {', '.join(self.names())}",
            hint=f"pip install {package}"
            if package not in (None, "", OWN.distribution)
            else did_you_mean(name, [*self.names(), *aliases]) or self._otherwise,
        )

    def add(self, name: str, where: str) -> None:
        """Know ``name`` in this process and in its workers, without an installed package.

        Args:
            where: ``module:attribute``; the module must be importable by name, because workers import it again.

        Raises:
            EdgeslimError: edgeslim has a thing of that name, or ``where`` is not of that form.
        """
        module, _, attribute = where.partition(":")
        if name in self._own or not module or not attribute:
            raise self._error(
                f"cannot add the {self.kind} {name!r} as {where!r}",
                hint="a name that edgeslim does not have, and module:attribute",
            )
        self._added[name] = Entry(name=name, where=where, origin=_origin_of(module))

    def _load(self, entry: Entry) -> T:
        module, _, attribute = entry.where.partition(":")
        if entry.origin == OWN:
            return cast(T, getattr(importlib.import_module(module), attribute))
        try:
            return cast(T, getattr(importlib.import_module(module), attribute))
        except Exception as error:  # another package's code: whatever it raises is its
            brought = f"{entry.origin.distribution} {entry.origin.version}".strip()
            raise self._error(
                f"the {self.kind} {entry.name!r} of {brought} cannot be imported: {type(error).__name__}: {error}",
                hint=f"update or uninstall {entry.origin.distribution}",
            ) from error

    def _by_alias(self) -> dict[str, Entry]:
        """Only for names that nothing has: asks every thing, leaving out those that cannot be imported."""
        found: dict[str, Entry] = {}
        for name in self.names():
            try:
                entry = self.entry(name)
                others = self._aliases(self._load(entry))
            except EdgeslimError:
                continue
            for alias in others:
                found.setdefault(alias, entry)
        return found


@lru_cache(maxsize=32)
def _installed(group: str, path: tuple[str, ...]) -> tuple[Entry, ...]:
    """The entry points of ``group`` that distributions on ``path`` (``sys.path``) bring; the first of a name wins."""
    found: dict[tuple[str, str], Entry] = {}
    for point in importlib.metadata.entry_points(group=group):
        distribution = point.dist
        if distribution is None:
            continue
        origin = Origin(distribution=distribution.name, version=distribution.version)
        found.setdefault((point.name, origin.distribution), Entry(name=point.name, where=point.value, origin=origin))
    return tuple(found.values())


def _origin_of(module: str) -> Origin:
    """The distribution that ``module`` was installed with; the module's own name where it was not."""
    top = module.partition(".")[0]
    for distribution in importlib.metadata.packages_distributions().get(top, ()):
        return Origin(distribution=distribution, version=importlib.metadata.version(distribution))
    return Origin(distribution=top, version="0")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """What a worker process has to know to find the same things: the import path, and group → added names."""

    path: tuple[str, ...]
    added: dict[str, dict[str, str]]

    @classmethod
    def now(cls) -> HandedOver:
        added = {
            group: {name: entry.where for name, entry in registry._added.items()}
            for group, registry in _REGISTRIES.items()
        }
        return cls(path=tuple(sys.path), added=added)

    def take(self) -> None:
        """In the worker: know them too. Groups whose registry is not imported yet get theirs when it is."""
        sys.path += [place for place in self.path if place not in sys.path]
        for group, names in self.added.items():
            if group in _REGISTRIES:
                for name, where in names.items():
                    _REGISTRIES[group].add(name, where)
            elif names:
                _WAITING[group] = names
