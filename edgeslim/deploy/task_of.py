"""Which task a file is for, and how a bundle says it.

A bundle's ``task`` is one of FORMAT.md's names. A task that another package brings says which of them readers may
take it for; its own name, package and version stand in ``task_spec``.
"""

from __future__ import annotations

from edgeslim import tasks
from edgeslim.core.manifest import JsonObject, SlimManifest, TaskName
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.registry import OWN
from edgeslim.tasks.base import Task


def task_of(checkpoint: Checkpoint) -> Task:
    """What the net of ``checkpoint`` was trained for.

    Raises:
        UsageError: the package that brings the task is not installed; the hint names it.
    """
    return tasks.get(checkpoint.task, package=checkpoint.task_package)


def said_in_bundle(task: Task) -> tuple[TaskName, JsonObject]:
    """``task`` and ``task_spec`` of the manifest."""
    origin = tasks.REGISTRY.entry(task.name).origin
    if origin == OWN:
        return task.bundle_task, {}
    return task.bundle_task, {"name": task.name, "package": origin.distribution, "version": origin.version}


def task_of_bundle(manifest: SlimManifest) -> Task:
    """The task that ``said_in_bundle`` wrote.

    Raises:
        UsageError: this edgeslim has no such task; the hint names the package that brings it.
    """
    name, package = (manifest.task_spec.get(key) for key in ("name", "package"))
    if isinstance(name, str) and isinstance(package, str):
        return tasks.get(name, package=package)
    return tasks.get(manifest.task)
