"""One of several gloo processes: calibrates its share and saves what it found. Arguments: out, shares (3,29 …)."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from small_nets import small_images, small_net

from edgeslim.core.width import Width
from edgeslim.deploy.calibration.calibrate import calibrate
from edgeslim.deploy.calibration.passes import pooled_statistics
from edgeslim.errors import DataError


def main(out: str, shares: list[int]) -> None:
    dist.init_process_group("gloo")
    rank, group = dist.get_rank(), dist.group.WORLD
    checkpoint, data = small_net(), small_images()
    images = next(data.batches(len(data)))[0]
    mine = images.split(shares)[rank]
    net = checkpoint.build().static(Width(500))
    uneven = pooled_statistics(net, mine, group=group)
    alone = pooled_statistics(net, mine)  # joined, but not asked to share: must not wait for the others
    whole = calibrate(checkpoint, data, [Width(500), Width(1000)], group=group).checkpoint()
    broken = mine.clone()
    if rank == 1:
        broken[0, 0, 0, 0] = float("nan")
    try:
        pooled_statistics(net, broken, group=group)
        refused = False
    except DataError:
        refused = True
    torch.save(
        {
            "uneven": uneven,
            "alone": alone,
            "statistics": {int(net.name): found for net, found in whole.statistics.items()},
            "sha256": whole.calibration_sha256,
            "refused": refused,
        },
        f"{out}.{rank}",
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], [int(text) for text in sys.argv[2].split(",")])
