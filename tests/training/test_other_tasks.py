"""The loop knows no task, no data set and no widths: a net that sharpens images, fed without end, searched over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeslim.core.manifest import TaskName
from edgeslim.core.width import Width
from edgeslim.data.augment import Augment
from edgeslim.data.named import load_data
from edgeslim.models.builder import Builder, initialise
from edgeslim.models.registry import make_spec
from edgeslim.models.selection import Selection
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.tasks.base import Closeness, Outputs, OutputSpec, detached, named, sqnr_db
from edgeslim.training.config import TrainConfig
from edgeslim.training.loop import Trainer
from edgeslim.training.optim import OptimConfig
from edgeslim.training.resume import RunFiles
from edgeslim.training.sandwich import Sandwich
from edgeslim.training.watch import Progress, TrainEvent

STEPS = 40


class Sharpen(nn.Module):
    """Two convolutions and the image itself; two outputs by name."""

    def __init__(self, b: Builder) -> None:
        super().__init__()
        image, out = b.fixed("image", 1), b.fixed("out", 1)
        first, second = b.channels("first", 16), b.channels("second", 16)
        self.body = nn.Sequential(
            *b.conv_norm(image, first, 3, activation=nn.GELU),
            *b.conv_norm(first, second, 3, activation=F.silu),
            *b.conv_norm(second, out, 3),
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        image = x + self.body(x)
        return {"image": image, "mean": image.mean((1, 2, 3))}


class Restore:
    """Squared error of the image; the mean is only looked at."""

    name = "restore"
    bundle_task: TaskName = "other"
    outputs = (
        OutputSpec(name="image", axes=("channels", "height", "width"), meaning="pixels"),
        OutputSpec(name="mean", axes=(), meaning="brightness"),
    )

    def loss(self, out: Outputs, target: Tensor) -> Tensor:
        return F.mse_loss(out["image"].float(), target)

    def soften(self, out: Outputs, target: Tensor) -> Outputs:
        return {"image": (detached(out)["image"] + target) / 2}

    def soft_loss(self, out: Outputs, soft: Outputs) -> Tensor:
        return F.mse_loss(out["image"].float(), soft["image"])

    def metric(self) -> Any:
        raise NotImplementedError

    def compare(self, ours: Outputs, theirs: Outputs) -> Closeness:
        return Closeness(sqnr_db={name: sqnr_db(ours[name], theirs[name]) for name in ours}, agreement=1.0)


class Blurred:
    """Blurred noise without end; how far it went is its state."""

    examples_per_step, steps_per_epoch = 8, 10

    def __init__(self) -> None:
        self.given = 0

    def batches(self, steps: range, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in steps:
            sharp = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(self.given)).to(device)
            self.given += 1
            yield F.avg_pool2d(sharp, 3, stride=1, padding=1), sharp

    def state(self) -> dict[str, Any]:
        return {"given": self.given}

    def load(self, state: dict[str, Any]) -> None:
        self.given = state["given"]


class Vectors:
    """Widest, narrowest, and one that no width gives, as a search over channels would try it."""

    def nets_at(self, model: SlimmableModel, seed: int, step: int) -> tuple[Selection, ...]:
        counts = {group.name: 4 + (5 * step + 3 * i) % 13 for i, group in enumerate(model.groups())}
        return (
            model.selection(model.spec.high),
            model.selection(Selection.of(counts, label=f"try-{step}")),
            model.selection(model.spec.low),
        )


def trainer(epochs: int, out: Path, losses: list[dict[str, float]]) -> Trainer:
    torch.manual_seed(0)
    spec = make_spec("us_mobilenet_v1", num_classes=1, input_size=32, in_channels=1)
    b = Builder(spec)
    model = SlimmableModel(spec, b, Sharpen(b))
    initialise(model, spec)
    config = TrainConfig(
        data="noise",
        epochs=epochs,
        batch_size=8,
        sandwich=Sandwich(low=Width(250), high=Width(1000)),
        optim=OptimConfig(lr=0.05, schedule="linear"),
        augment=Augment(padding=0, flip=False),
    )
    data = load_data("digits", "train", input_size=8, in_channels=1, images=16)

    def watch(event: TrainEvent) -> None:
        if isinstance(event, Progress):
            losses.extend(dict(line.losses) for line in event.lines)

    return Trainer(
        model,
        data,
        config,
        task=Restore(),
        sampler=Vectors(),
        source=Blurred(),
        files=RunFiles(out=out),
        save_seconds=0.0,
        watch=watch,
    )


def test_another_task_from_another_source_with_nets_of_a_search(tmp_path: Path) -> None:
    losses: list[dict[str, float]] = []
    run = trainer(4, tmp_path / "net.pt", losses)
    run.run()
    assert set(losses[0]) == {"1000", "try-0", "250"}
    assert losses[-1]["1000"] < 0.8 * losses[0]["1000"]
    again = trainer(4, tmp_path / "net.pt", [])
    assert again.resume()
    assert again.source.state() == {"given": STEPS}
    task = Restore()
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        one, other = named(task, run.model(x)), named(task, again.model(x))
    assert task.compare(one, other).sqnr_db == {"image": 200.0, "mean": 200.0}
