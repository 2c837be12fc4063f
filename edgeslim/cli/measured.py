"""How a task's measurements look in tables: accuracies as percentages, anything else as it is."""

from __future__ import annotations

_PERCENT = {"top1": "top-1 %", "top5": "top-5 %"}


def measured_head(name: str) -> str:
    """The head of a column."""
    return _PERCENT.get(name, name)


def measured_text(name: str, value: float) -> str:
    """A cell of it."""
    return f"{100 * value:.2f}" if name in _PERCENT else f"{value:.4f}"
