"""Tasks by name: what nets are for, one file each (``tasks.base.Task``).

``get("classify")``; a task's file is imported only when it is asked for. Other installed packages bring more by an
entry point of the group ``edgeslim.tasks``: a ``MakeTask``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from edgeslim.core.manifest import TaskName
from edgeslim.errors import UsageError
from edgeslim.registry import Registry

if TYPE_CHECKING:
    from edgeslim.tasks.base import Task

Distill = Literal["trusted", "plain", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """How to learn; a task takes what it understands. ``smoothing``: of the widest's hard labels, in [0, 1).
    ``distill``: what narrower nets learn of a teacher (``tasks.classify``), or nothing of it."""

    smoothing: float = 0.1
    distill: Distill = "trusted"


MakeTask = Callable[[TaskSettings], "Task"]

REGISTRY: Registry[MakeTask] = Registry("task", "edgeslim.tasks", {"classify": "edgeslim.tasks.classify:make"})


def get(name: str, settings: TaskSettings | None = None, *, package: str | None = None) -> Task:
    """The task called ``name``.

    Args:
        settings: None where nothing is learnt.
        package: the distribution that a file says it comes from.

    Raises:
        UsageError: no such task (the hint names the nearest, or what to install), or one that breaks the protocol.
    """
    task = REGISTRY.get(name, package=package)(settings or TaskSettings())
    met = getattr(task, "name", None), getattr(task, "bundle_task", None)
    if met[0] != name or met[1] not in get_args(TaskName):
        origin = REGISTRY.entry(name).origin
        raise UsageError(
            f"the task {name!r} of {origin.distribution} says name {met[0]!r} and bundle_task {met[1]!r}, "
            f"expected its own name and one of {', '.join(get_args(TaskName))}",
            hint=f"update or uninstall {origin.distribution}",
        )
    return task


def package_of(name: str) -> str:
    """The distribution that brings the task called ``name``; "" of one that no registry has."""
    try:
        return REGISTRY.entry(name).origin.distribution
    except UsageError:
        return ""


def words() -> str:
    """What people may type, for the help of options."""
    return ", ".join(REGISTRY.names())
