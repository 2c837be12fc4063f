"""What a sandwich step costs beyond its multiply-adds.

    python profiling/train_speed.py [--rounds 12] [--threads 1] [--network us_mobilenet_v2] [--json] [--record]

One sandwich step (n = 4: the widest, the narrowest, two between) is compared with one step of the *static twin*:
plain Conv2d, BatchNorm2d and Linear at full width, channels_last, same optimiser, same images (float32, CPU).

    ratio = (time of the sandwich step / time of the twin's step) / (multiply-adds of the widths / those of the twin)

1.0 is a step that costs exactly its share; less is possible, because the twin runs as PyTorch runs plain layers, while
the slimmable net trains by pullbacks of its own (edgeslim/training/engines) with other kernels for the same products.
The two take turns within one run, so that heat and other load touch both; the ratio is that of medians, beside that of
the fastest rounds. The table below it has every width by itself, as plain twin (what narrow nets cost with ordinary
layers, as less of their time is multiply-adds) and as the slimmable net runs it, and the overheads: slicing (dense
copies of all slices that are not dense, at all widths), switching, metrics.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import record
import torch
from torch.nn import functional as F

from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.data.augment import Augment
from edgeslim.data.images import ImageSet
from edgeslim.models.count import count
from edgeslim.models.registry import create
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.training.allocator import keep_freed_memory
from edgeslim.training.config import TrainConfig
from edgeslim.training.loop import Trainer
from edgeslim.training.optim import OptimConfig
from edgeslim.training.sandwich import Sandwich
from edgeslim.training.step import accumulate_gradients

SIZE, BATCH, CLASSES = 64, 32, 1000


def random_pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def random_images() -> ImageSet:
    generator, pixels = torch.Generator().manual_seed(1), random_pixels()
    return ImageSet(
        name="random",
        split="train",
        pixels=pixels,
        original=pixels,
        labels=torch.randint(0, CLASSES, (BATCH,), generator=generator),
        classes=tuple(map(str, range(CLASSES))),
        contract=ImageContract.imagenet(3, SIZE, SIZE),
        flips=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="us_mobilenet_v2")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--widths", default="1.0,0.785,0.568,0.35", help="of the step, widest first")
    parser.add_argument("--json", action="store_true")
    record.add_option(parser)
    chosen = parser.parse_args()
    passport = record.begin("torch")
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()  # as `edgeslim train` does; it helps the twin as well
    widths = tuple(Width.parse(text) for text in chosen.widths.split(","))

    torch.manual_seed(0)
    model = create(chosen.network, num_classes=CLASSES, input_size=SIZE, low=widths[-1], high=widths[0])
    data = random_images()
    config = TrainConfig(
        data="random",
        epochs=1,
        batch_size=BATCH,
        sandwich=Sandwich(low=widths[-1], high=widths[0], ladder=widths, per_step=len(widths)),
        optim=OptimConfig(lr=1e-3),
        augment=Augment(padding=8, flip=True),
    )
    macs = {width: count(model, width, SIZE).macs for width in widths}
    share = sum(macs.values()) / macs[widths[0]]
    trainer = Trainer(model, data, config)
    images, labels = next(data.batches(BATCH))
    twins = {width: model.static(width).to(memory_format=torch.channels_last).train() for width in widths}
    optimizer = config.optim.build(twins[widths[0]])

    def twin_backward(width: Width) -> None:
        loss = F.cross_entropy(twins[width](images), labels, label_smoothing=config.label_smoothing)
        torch.autograd.backward(loss)

    def twin_step() -> None:
        twin_backward(widths[0])
        torch.nn.utils.clip_grad_norm_(twins[widths[0]].parameters(), config.optim.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def twin_alone(width: Width) -> None:
        twin_backward(width)
        for parameter in twins[width].parameters():
            parameter.grad = None

    def sandwich_step() -> None:
        trainer.train_step(images, labels, 1e-3)

    def slim_alone(width: Width) -> None:
        accumulate_gradients(model, images, labels, (width,), trainer.task)
        model.zero_grad(set_to_none=True)

    jobs: dict[str, Callable[[], object]] = {"twin step": twin_step, "sandwich step": sandwich_step}
    jobs |= {f"twin {width}": partial(twin_alone, width) for width in widths}
    jobs |= {f"slimmable {width}": partial(slim_alone, width) for width in widths}
    jobs["slicing, all widths"] = partial(cut, model, widths)
    jobs["switching, all widths"] = partial(switch, model, widths)
    jobs["metrics"] = lambda: torch.stack([labels.sum().float() for _ in widths]).tolist()
    jobs["augmentation"] = lambda: data.normalise(config.augment.apply(pixels, draw))
    pixels = random_pixels()
    draw = config.augment.draw(BATCH, torch.Generator().manual_seed(0))

    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(chosen.rounds + 2):
        for name, job in jobs.items() if turn % 2 else reversed(jobs.items()):
            began = time.perf_counter()
            job()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - began)
    ratios = report(seconds, macs, share, chosen.threads, as_json=chosen.json)
    if chosen.record:
        figures = [
            record.Figure(
                aim="a sandwich step / its multiply-adds' share of one full-width step of the static twin",
                promised=record.Promise(comparison="<=", number=1.10, text="at most 1.10x"),
                measured=(round(ratios["median"], 3),),
                unit="x",
                notes=(f"{chosen.network}, {SIZE} px, batch {BATCH}, threads: {chosen.threads}.",),
            ),
            record.Figure(aim="the same widths as plain twins", measured=(round(ratios["plain_twins"], 3),), unit="x"),
        ]
        record.write(f"train_speed-{chosen.threads}", figures, passport)


def cut(model: SlimmableModel, widths: tuple[Width, ...]) -> None:
    for width in widths:
        for layer in model.layers().values():
            for part in layer.slices(model.selection(width)).values():
                part.detach().contiguous(
                    memory_format=torch.channels_last if part.dim() == 4 else torch.contiguous_format
                )


def switch(model: SlimmableModel, widths: tuple[Width, ...]) -> None:
    for width in widths:
        with model.at(width):
            pass


def report(
    seconds: dict[str, list[float]], macs: dict[Width, int], share: float, threads: int, *, as_json: bool
) -> dict[str, float]:
    """Ratios, then a table of medians and minima in ms. The ratios are the answer."""
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    least = {name: min(values) for name, values in seconds.items()}
    widest = next(iter(macs))
    ratios = {
        "median": middle["sandwich step"] / middle["twin step"] / share,
        "fastest": least["sandwich step"] / least["twin step"] / share,
        "plain_twins": (sum(middle[f"twin {w}"] for w in macs) + middle["twin step"] - middle[f"twin {widest}"])
        / middle["twin step"]
        / share,
    }
    if as_json:
        print(json.dumps({"threads": threads, "share": share, "ratios": ratios, "median_s": middle, "min_s": least}))
        return ratios
    print(f"torch {torch.__version__}, {threads} threads; multiply-adds of the step: {share:.3f} of one at full width")
    print(f"ratio by medians {ratios['median']:.3f}, by the fastest rounds {ratios['fastest']:.3f}")
    print(f"the same widths as plain twins, one optimiser step: {ratios['plain_twins']:.3f}")
    print(f"{'':24}{'median ms':>10}{'min ms':>10}{'time share':>12}{'MAC share':>11}")
    for name in seconds:
        width = (
            Width.parse(name.split()[1]) if name.startswith(("twin ", "slimmable ")) and "step" not in name else None
        )
        columns = f"{middle[name] / middle['twin step']:12.3f}"
        columns += "" if width is None else f"{macs[width] / macs[widest]:11.3f}"
        print(f"{name:24}{1e3 * middle[name]:10.2f}{1e3 * least[name]:10.2f}{columns}")
    difference = sum(middle[f"slimmable {w}"] - middle[f"twin {w}"] for w in macs)
    print(f"{'slimmable - twins':24}{1e3 * difference:10.2f}")
    return ratios


if __name__ == "__main__":
    main()
