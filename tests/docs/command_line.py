"""Commands as a reader types them, and the folder that a reader is assumed to have."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from torchvision.io import write_jpeg
from torchvision.models import mobilenet_v2

from edgeslim.core.width import Width
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.registry import create


def run(command: str, folder: Path) -> None:
    words = shlex.split(command)
    program = {
        "edgeslim": [sys.executable, "-m", "edgeslim"],
        "torchrun": [sys.executable, "-m", "torch.distributed.run"],
    }
    done = subprocess.run(
        [*program[words[0]], *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{command}\nexit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def make_world(folder: Path) -> None:
    """What a reader is assumed to have: folders of images, a US-Net of their own and the names of its classes, and a
    published table."""
    torch.manual_seed(0)
    for split, count in (("train", 12), ("test", 4)):
        for label, colour in (("cat", 60), ("dog", 190)):
            (folder / "images" / split / label).mkdir(parents=True)
            for index in range(count):
                pixels = (colour + 40 * torch.randn(3, 32, 32)).clamp(0, 255).to(torch.uint8)
                write_jpeg(pixels, str(folder / "images" / split / label / f"{index}.jpg"))
    model = create("us_mobilenet_v2", num_classes=2, input_size=32)
    for width in (Width(350), Width(500), Width(1000)):
        norms = {n: m for n, m in model.static(width).named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
        model.set_statistics(
            width, {n: (torch.zeros(m.num_features), torch.ones(m.num_features)) for n, m in norms.items()}
        )
    Checkpoint.from_model(model).save(folder / "us_mbv2.pt")
    (folder / "labels.txt").write_text("cat\ndog\n")
    torch.save(mobilenet_v2(num_classes=2).state_dict(), folder / "torchvision_mobilenet_v2.pt")
    page = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "import-a-table.md").read_text()
    (folder / "published.csv").write_text(page.partition("```csv\n")[2].partition("```")[0])
    run("edgeslim pack us_mbv2.pt --target litert -o us_mbv2.slim", folder)
    run(
        "edgeslim bench us_mbv2.slim --target litert --seconds 0.3 --runs 20 --retries 0 --cool-wait 1 -o table.json",
        folder,
    )
