"""The MACs–accuracy spectrum as a picture; matplotlib is imported only here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeslim.deploy.evaluate import Score
from edgeslim.files import write_atomically
from edgeslim.host.pictures import names_as_they_are

_INCHES = (4.6, 3.4)  # on a phone 360 points wide the smallest text is still about 9 points high
_DPI = 240
_SHARES = {"top1": "top-1 accuracy, %", "top5": "top-5 accuracy, %"}  # metrics in [0, 1] with words of their own
_LABEL_SHARE = 0.1  # of the axis; points nearer to each other share one label


@names_as_they_are()
def write_spectrum(scores: Sequence[Score], title: str, path: Path, *, overwrite: bool) -> None:
    """Draw what the task measures against multiply-adds, a point per net, as a PNG.

    Raises:
        OutputError: ``path`` exists and ``overwrite`` is false, or it cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        shares = all(score.metric in _SHARES for score in scores)
        million = [score.macs / 1e6 for score in scores]
        percent = [100 * score.value if shares else score.value for score in scores]
        axes.plot(million, percent, "-o", color="#1d4ed8", markersize=4.5, linewidth=1.6)
        outline = [withStroke(linewidth=2.5, foreground="white")]
        for index in _labelled(million):
            axes.annotate(
                scores[index].label,
                (million[index], percent[index]),
                xytext=(2, -12),
                textcoords="offset points",
                ha="center",
                size=8,
                path_effects=outline,
            )
        axes.set_xlim(left=0)
        axes.margins(y=0.25)
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("multiply-adds per image, million")
        axes.set_ylabel(_SHARES[scores[0].metric] if shares else scores[0].metric)
        axes.set_title(title, size=10)
        with write_atomically(path, overwrite=overwrite) as file:
            figure.savefig(file, format="png")


def _labelled(million: Sequence[float]) -> list[int]:
    """Which points get their width written beside them: the widest, and from there all that leave room."""
    chosen: list[int] = []
    for index in reversed(range(len(million))):
        if not chosen or million[chosen[-1]] - million[index] >= _LABEL_SHARE * million[-1]:
            chosen.append(index)
    return chosen
