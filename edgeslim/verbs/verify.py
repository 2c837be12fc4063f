"""``edgeslim.verify``: rebuild, hash, run and compare every artifact of a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeslim.core.bundle import SlimBundle
from edgeslim.deploy.reports import VerifyReport, VerifyRow
from edgeslim.verbs.addressing import chosen_nets, target_name

if TYPE_CHECKING:
    from edgeslim.data.images import ImageSet


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """``targets``, ``widths`` (text, or labels of nets), ``artifacts`` (ids): what to verify (None, (): all); ``data``:
    images by a data set's name (None: seeded ones), ``images`` of them (None: as many as each precision wants);
    ``min_sqnr_db``: the least that is right (None: what the target says of the precision); ``strict``: what cannot be
    run here counts as not verified."""

    targets: tuple[str, ...] | None = None
    widths: str | None = None
    artifacts: tuple[str, ...] = ()
    data: str | None = None
    images: int | None = None
    min_sqnr_db: float | None = None
    strict: bool = False
    threads: int = 1


def verify(
    bundle: str | Path,
    options: VerifyOptions = VerifyOptions(),
    *,
    on_row: Callable[[VerifyRow], None] = lambda row: None,
) -> VerifyReport:
    """Rebuild every file of ``bundle``, check its hash, run it in its runtime, compare it with the folded PyTorch net.

    Whether all of it is right is in the report, not an exception.

    Raises:
        FormatError: it is no bundle.
        UsageError, WidthError: it has no such target, net or artifact.
        MissingExtraError: a runtime is not installed.
    """
    from edgeslim.deploy.verify import verify as verified

    with SlimBundle.open(bundle) as opened:
        wanted = options.targets
        rows = verified(
            opened,
            targets_wanted=None if wanted is None else [target_name(opened.manifest, name.strip()) for name in wanted],
            widths=chosen_nets(opened, options.widths),
            artifacts=options.artifacts or None,
            data=None if options.data is None else _images(options.data, opened),
            count=options.images,
            min_sqnr_db=options.min_sqnr_db,
            threads=options.threads,
            on_row=on_row,
        )
    ok = all(row.ok and (row.checked or not options.strict) for row in rows)
    return VerifyReport(ok=ok, data=options.data, rows=tuple(rows))


def _images(data: str, bundle: SlimBundle) -> ImageSet:
    from edgeslim.data.named import load_data
    from edgeslim.deploy.verify import image_of

    contract = image_of(bundle, bundle.manifest.inputs[-1].id)
    return load_data(data, "test", input_size=contract.height, in_channels=contract.channels)
