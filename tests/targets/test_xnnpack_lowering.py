"""The rewrites for XNNPACK change no number and no weight, and nets come out as one delegate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from target_nets import SIZE, logits_of, metadata, normalised, pixels, sliced, sqnr_db
from torch import nn

from edgeslim.core.width import Width
from edgeslim.errors import ExportError, UsageError

pytest.importorskip("executorch")

from edgeslim.targets.executorch import ExecutorchRunner, ExecutorchTarget
from edgeslim.targets.xnnpack_lowering import rewrite_for_xnnpack

EXAMPLES = {"image": torch.zeros(1, 3, SIZE, SIZE)}


class Repeated(nn.Module):
    """What ShuffleNet's first unit does: one input for every group, and a pool that counts its padding."""

    def __init__(self, *, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 9, 3, groups=3)
        self.pool = nn.AvgPool2d(3, stride=2, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.conv(torch.cat([x, x, x], 1)))  # type: ignore[no-any-return]


def operations(program: torch.export.ExportedProgram) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def test_repeats_and_padded_pools_are_rewritten() -> None:
    net, x = Repeated().eval(), torch.randn(1, 2, 12, 12)
    program = torch.export.export(net, (x,))
    rewrite_for_xnnpack(program)
    assert operations(program) == [
        "aten.conv2d.default",
        "aten.constant_pad_nd.default",
        "aten.avg_pool2d.default",
    ]
    torch.testing.assert_close(program.module()(x), net(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(program.state_dict["conv.weight"], net.conv.weight)


def test_a_mean_that_drops_axes_keeps_them_for_xnnpack() -> None:
    class Pooled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x.mean((2, 3))) + x.mean((-1, -2)) + x.mean((2, 3), keepdim=True).flatten(1)

    x = torch.randn(1, 3, 6, 5)
    program = torch.export.export(Pooled(), (x,))
    rewrite_for_xnnpack(program)
    means = [node for node in program.graph.nodes if node.target is torch.ops.aten.mean.dim]
    assert [node.args[2] for node in means] == [True, True, True]
    torch.testing.assert_close(program.module()(x), Pooled()(x))


def test_other_joins_and_pools_stay() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, groups=2)
            self.uncounted = nn.AvgPool2d(3, padding=1, count_include_pad=False)
            self.plain = nn.AvgPool2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.plain(self.uncounted(self.conv(torch.cat([x, -x], 1))))  # type: ignore[no-any-return]

    net, x = Other().eval(), torch.randn(1, 2, 24, 24)
    program = torch.export.export(net, (x,))
    before = operations(program)
    rewrite_for_xnnpack(program)
    assert operations(program) == before
    torch.testing.assert_close(program.module()(x), net(x))


@pytest.mark.parametrize(("name", "permille"), [("s_shufflenet", 500), ("us_resnet18", 250)])
def test_nets_with_branches_are_one_delegate(name: str, permille: int, tmp_path: Path) -> None:
    net, target = sliced(name, permille), ExecutorchTarget()
    out = tmp_path / "net.pte"
    target.export(net, EXAMPLES, out, metadata=metadata(Width(permille)))
    runner = target.load(out, threads=1)
    image = normalised(pixels())
    assert sqnr_db(logits_of(net, image), runner.run({"image": image})["logits"]) >= 90
    runner.close()


def test_a_net_in_pieces_is_refused(tmp_path: Path) -> None:
    class Pieces(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(torch.cumsum(self.first(x), 2)).mean((2, 3), keepdim=True).flatten(1)  # type: ignore[no-any-return]

    with pytest.raises(ExportError, match=r"2 XNNPACK delegates with \['aten.cumsum.default'\] outside"):
        ExecutorchTarget().export(Pieces().eval(), EXAMPLES, tmp_path / "net.pte", metadata=metadata(Width(250)))
    assert not (tmp_path / "net.pte").exists()


def test_compile_specs_reach_the_delegate(tmp_path: Path) -> None:
    target = ExecutorchTarget()
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    for value in (b"one", b"two"):
        target.export(
            net, EXAMPLES, tmp_path / f"{value.decode()}.pte", metadata=metadata(Width(250)),
            options={"compile_specs": {"edgeslim_test": value}},
        )  # fmt: skip
    one, two = ((tmp_path / name).read_bytes() for name in ("one.pte", "two.pte"))
    assert b"edgeslim_test" in one
    assert b"edgeslim_test" in two
    assert one != two
    runner, image = target.load(tmp_path / "one.pte"), normalised(pixels())
    assert sqnr_db(logits_of(net, image), runner.run({"image": image})["logits"]) >= 90  # type: ignore[arg-type]
    runner.close()
    with pytest.raises(UsageError, match="names with bytes"):
        target.export(
            net, EXAMPLES, tmp_path / "bad.pte", metadata=metadata(Width(250)), options={"compile_specs": {"a": 1}}
        )


def test_threads_stay_while_a_program_is_loaded(tmp_path: Path) -> None:
    """XNNPACK keeps a pointer to the pool: it is only resized when nothing is loaded, and the runner says so."""
    out, target = tmp_path / "net.pte", ExecutorchTarget()
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    target.export(net, EXAMPLES, out, metadata=metadata(Width(250)))
    first = target.load(out, threads=2)
    assert (first.describe().threads, first.describe().note) == (2, "")
    second = target.load(out, threads=1)
    assert second.describe().threads == 2
    assert "1 threads asked" in second.describe().note
    image = normalised(pixels())
    assert sqnr_db(logits_of(net, image), second.run({"image": image})["logits"]) >= 90  # type: ignore[arg-type]
    second.close()
    first.close()
    third = target.load(out, threads=1)
    assert third.describe().threads == 1
    third.close()
    assert not ExecutorchRunner._alive
