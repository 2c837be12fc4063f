"""``edgeslim verify``: rebuild, hash, run and compare every width of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from edgeslim.cli.bundle_options import target_name
from edgeslim.cli.console import WIDTHS, Console, common_options, resolve_widths
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.width import Width
from edgeslim.errors import VerificationError

if TYPE_CHECKING:
    from edgeslim.deploy.compare import Pixels
    from edgeslim.deploy.verify import VerifyRow


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--target", "wanted", help="targets to verify, separated by commas [all]")
@click.option("--widths", type=WIDTHS, help="widths to verify [all]")
@click.option("--data", help="images: a data set by name, or folder:PATH [seeded ones]")
@click.option("--images", "count", type=click.IntRange(1), default=8, show_default=True, help="how many images")
@click.option(
    "--min-sqnr",
    type=float,
    help="least SQNR in dB that is right [the target's: fp32 60; fp16 40, or what fp16 leaves of the net less 6]",
)
@click.option("--strict", is_flag=True, help="a file that cannot be checked on this machine counts as wrong")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="of the runtimes")
@common_options
def command(
    *,
    bundle: Path,
    wanted: str | None,
    widths: str | None,
    data: str | None,
    count: int,
    min_sqnr: float | None,
    threads: int,
    strict: bool,
    console: Console,
) -> None:
    """Rebuild every file of BUNDLE, check its hash, run it in its runtime, compare it with the folded PyTorch net."""
    from edgeslim.deploy.verify import verify

    with SlimBundle.open(bundle) as opened:
        manifest = opened.manifest
        trained = Width(manifest.low), Width(manifest.high)
        rows = verify(
            opened,
            targets_wanted=None if wanted is None else [target_name(manifest, name) for name in wanted.split(",")],
            widths=None if widths is None else resolve_widths(widths, trained),
            images=None if data is None else _pixels(data, count, opened),
            count=count,
            min_sqnr_db=min_sqnr,
            threads=threads,
            on_row=lambda row: console.detail(f"{row.target} {Width(row.permille)}x: {_verdict(row)}"),
        )
    wrong = [row for row in rows if not row.ok or (strict and row.unchecked)]
    console.result({"ok": not wrong, "rows": [_document(row) for row in rows]}, _table(bundle, rows))
    if wrong:
        names = ", ".join(f"{row.target} {Width(row.permille)}x: {_verdict(row)}" for row in wrong)
        console.warn(f"{bundle} is not verified: {names}")
        raise click.exceptions.Exit(VerificationError.exit_code)
    ran = sum(row.unchecked is None for row in rows)
    console.say(f"{bundle}: {len(rows)} files rebuilt byte for byte, {ran} of them run and compared")
    for reason in dict.fromkeys(row.unchecked for row in rows if row.unchecked):
        targets = dict.fromkeys(row.target for row in rows if row.unchecked == reason)
        console.warn(f"not run here: {', '.join(targets)}: {reason}")
    console.next_commands(f"edgeslim bench {bundle} -o table.json")


def _pixels(data: str, count: int, bundle: SlimBundle) -> list[Pixels]:
    from edgeslim.data.named import load_data
    from edgeslim.deploy.verify import pixels_of

    contract = bundle.manifest.input
    images = load_data(data, "test", input_size=contract.height, in_channels=contract.channels)
    return pixels_of(images, count)


def _document(row: VerifyRow) -> dict[str, Any]:
    return {
        "target": row.target,
        "permille": row.permille,
        "runtime": row.runtime,
        "hash_ok": row.hash_ok,
        "sqnr_db": row.sqnr_db,
        "max_abs_error": row.max_abs_error,
        "top1_agreement": row.top1_agreement,
        "checked": row.sqnr_db is not None,
        **({} if row.unchecked is None else {"reason": row.unchecked}),
    }


def _verdict(row: VerifyRow) -> str:
    if row.unchecked is not None:
        return f"right bytes, not run here: {row.unchecked}"
    if row.sqnr_db is None:
        return "rebuilt bytes have another hash"
    return f"{row.sqnr_db:.1f} dB" + ("" if row.ok else ", too far from PyTorch")


def _table(bundle: Path, rows: list[VerifyRow]) -> Table:
    table = Table(title=str(bundle))
    for head in ("target", "width", "ran in", "bytes", "SQNR dB", "max error", "same top-1"):
        table.add_column(head, justify="left" if head in ("target", "ran in", "bytes") else "right", no_wrap=True)
    for row in rows:
        figures = ("", "", "")
        if row.sqnr_db is not None and row.max_abs_error is not None and row.top1_agreement is not None:
            figures = (f"{row.sqnr_db:.1f}", f"{row.max_abs_error:.1e}", f"{100 * row.top1_agreement:.0f} %")
        same = "same" if row.hash_ok else "DIFFER"
        table.add_row(row.target, str(Width(row.permille)), row.runtime or "", same, *figures)
    return table
