"""The net that the benchmarks of ``edgeslim bench`` measure when no file is given: about 1 ms on a desktop core."""

from __future__ import annotations

import tempfile
from pathlib import Path

SIZE, WIDTH_PERMILLE = 160, 350


def exported(folder: Path | None = None) -> Path:
    """US-MobileNetV2 0.35x at 160 px with random weights as ``.tflite``; exported once (about 10 s) and kept."""
    folder = folder or Path(tempfile.gettempdir()) / "edgeslim-profiling"
    path = folder / f"us_mobilenet_v2-{WIDTH_PERMILLE}-{SIZE}.tflite"
    if path.exists():
        return path
    import torch

    from edgeslim import targets
    from edgeslim.core.width import Width, net_id
    from edgeslim.deploy.fold import fold
    from edgeslim.models.registry import create
    from edgeslim.targets.base import Metadata

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    width = Width(WIDTH_PERMILLE)
    model = create("us_mobilenet_v2", input_size=SIZE)
    twin = model.static(width)
    model.set_statistics(
        width,
        {
            name: (torch.zeros(norm.num_features), torch.ones(norm.num_features))
            for name, norm in twin.named_modules()
            if isinstance(norm, torch.nn.BatchNorm2d)
        },
    )
    metadata = Metadata(model="us_mobilenet_v2", net=net_id(WIDTH_PERMILLE))
    targets.get("litert").export(
        fold(model.static(width)), {"image": torch.zeros(1, 3, SIZE, SIZE)}, path, metadata=metadata
    )
    return path
