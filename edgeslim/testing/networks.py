"""What every network promises, asked of one.

SlimmableModel ─┬─ at(width) ─────► answers ─┐
                ├─ static(width) ─► answers ─┼─ the same numbers
                └─ fold(static) ──► answers ─┘
                          └─ pack ─► bundle ─► rebuilt file, explained by the masters
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.width import Width
from edgeslim.deploy.fold import fold
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.deploy.verify import verify
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.static import batch_norms
from edgeslim.testing.expect import expect

_RELATIVE, _ABSOLUTE = 1e-3, 1e-4
_EXPLAINED = 0.99


class NetworkCase:
    """One small network under test, with statistics as training leaves them, at both ends of its range and between."""

    def __init__(self, model: SlimmableModel) -> None:
        self.model = model
        spec = model.spec
        self.widths = spec.widths or (spec.low, Width((spec.low.permille + spec.high.permille) // 2), spec.high)
        self.images = torch.randn(
            2, spec.in_channels, spec.input_size, spec.input_size, generator=torch.Generator().manual_seed(0)
        )
        random = torch.Generator().manual_seed(1)
        for width in self.widths:
            norms = batch_norms(model.static(width))
            statistics = {}
            for name, norm in norms.items():
                mean = 0.1 * torch.randn(norm.num_features, generator=random)
                statistics[name] = mean, 0.5 + torch.rand(norm.num_features, generator=random)
            model.set_statistics(width, statistics)

    def answers(self, width: Width) -> Tensor:
        """Of the slimmable net itself, in eval mode."""
        self.model.eval()
        with self.model.at(width), torch.inference_mode():
            found: Tensor = self.model(self.images)
        return found


Check = Callable[[NetworkCase, Path], None]


def gives_one_row_per_image(case: NetworkCase, folder: Path) -> None:
    """(N, C, H, W) in, (N, classes) of finite numbers out, at every width."""
    for width in case.widths:
        found = case.answers(width)
        expected = (len(case.images), case.model.spec.num_classes)
        expect(tuple(found.shape) == expected, f"width {width} gives {tuple(found.shape)}, expected {expected}")
        expect(bool(found.isfinite().all()), f"width {width} gives numbers that are not finite")


def narrows_with_its_width(case: NetworkCase, folder: Path) -> None:
    """No layer of a narrower net has more channels, and the narrowest is not the widest."""
    layers = case.model.layers().values()
    signatures = [[layer.outputs.at(width) for layer in layers] for width in case.widths]
    for narrow, wide, width in zip(signatures, signatures[1:], case.widths, strict=False):
        expect(all(n <= w for n, w in zip(narrow, wide, strict=True)), f"width {width} has layers wider than the next")
    expect(signatures[0] != signatures[-1], "the narrowest net has every channel of the widest")


def is_its_plain_twin(case: NetworkCase, folder: Path) -> None:
    """The slimmable net at a width, its plain twin and the folded twin answer alike."""
    for width in case.widths:
        reference, twin = case.answers(width), case.model.static(width).eval()
        net: nn.Module = fold(twin)
        with torch.inference_mode():
            plain, folded = twin(case.images), net(case.images)
        for what, found in (("its plain twin", plain), ("its folded twin", folded)):
            worst = float((found - reference).abs().max())
            expect(
                torch.allclose(found, reference, rtol=_RELATIVE, atol=_ABSOLUTE),
                f"width {width} and {what} differ by {worst:.1e}",
            )


def trains_every_parameter(case: NetworkCase, folder: Path) -> None:
    """The losses of all widths together reach every parameter (norms may be private to a width)."""
    model = case.model
    model.train()
    model.zero_grad(set_to_none=True)
    labels = torch.arange(len(case.images)) % model.spec.num_classes
    for width in case.widths:
        with model.at(width):
            loss = nn.functional.cross_entropy(model(case.images), labels)
        torch.autograd.backward(loss)
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    model.zero_grad(set_to_none=True)
    model.eval()
    expect(not without, f"the loss does not reach {', '.join(without[:5])}, {len(without)} parameters in all")


def packs_and_rebuilds(case: NetworkCase, folder: Path) -> None:
    """A bundle of the reference target holds it: files rebuild byte for byte, and masters explain their constants."""
    checkpoint = Checkpoint.from_model(case.model)
    report = pack(checkpoint, PackOptions(targets=["reference"], out=folder / "net.slim", jobs=1))
    for row in report.rows:
        share = row.explained_bytes / max(1, row.explained_bytes + row.literal_bytes)
        expect(share >= _EXPLAINED, f"{row.artifact}: the masters explain {share:.1%} of the constants")
    with SlimBundle.open(folder / "net.slim") as bundle:
        for verified in verify(bundle, count=1):
            expect(verified.ok, f"{verified.artifact}: {verified.sqnr_db} dB, hash {verified.hash_ok}")


NETWORK_CHECKS: dict[str, Check] = {
    check.__name__.replace("_", "-"): check
    for check in (
        gives_one_row_per_image,
        narrows_with_its_width,
        is_its_plain_twin,
        trains_every_parameter,
        packs_and_rebuilds,
    )
}


def check_network(model: SlimmableModel, folder: Path) -> None:
    """Ask ``model`` everything; build it small (32 px, few classes), it runs and packs at both ends of its range.

    Args:
        folder: an empty folder for what is packed.

    Raises:
        ConformanceError: the first promise that is not kept.
    """
    case = NetworkCase(model)
    for check in NETWORK_CHECKS.values():
        check(case, folder)
