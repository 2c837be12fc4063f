"""``edgeslim verify``: rebuild, hash, run and compare every artifact of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from edgeslim import targets
from edgeslim.cli.console import Console, common_options
from edgeslim.cli.data_options import DATA_HELP
from edgeslim.cli.next_step import fresh, given, step
from edgeslim.cli.option_types import COUNT, PATH, THREADS, Number
from edgeslim.deploy.reports import VerifyRow
from edgeslim.errors import VerificationError
from edgeslim.targets.info import FEW
from edgeslim.verbs.verify import VerifyOptions, verify


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--target", "wanted", help="targets to verify, separated by commas [all]")
@click.option("--widths", help="only artifacts of these widths, or labels of nets [all]")
@click.option("--artifact", "artifacts", multiple=True, help="one artifact by its id (repeatable) [all]")
@click.option("--data", help=f"images; {DATA_HELP} [seeded ones]")
@click.option("--images", "count", type=COUNT, help="how many images [of --data: fp32 8, fp16 256; seeded ones: 8]")
@click.option(
    "--min-sqnr",
    type=Number(-200, 1000),
    help="least SQNR in dB that is right [the target's: fp32 60; fp16 40, or what fp16 leaves of the net less 6]",
)
@click.option("--strict", is_flag=True, help="an artifact that cannot be run here counts as not verified")
@click.option("--threads", type=THREADS, default=1, show_default=True, help="of the runtimes")
@common_options
def command(
    *,
    bundle: Path,
    wanted: str | None,
    widths: str | None,
    artifacts: tuple[str, ...],
    data: str | None,
    count: int | None,
    min_sqnr: float | None,
    strict: bool,
    threads: int,
    console: Console,
) -> None:
    """Rebuild every file of BUNDLE, check its hash, run it in its runtime, compare it with the folded PyTorch net."""
    options = VerifyOptions(
        targets=None if wanted is None else tuple(wanted.split(",")),
        widths=widths,
        artifacts=artifacts,
        data=data,
        images=count,
        min_sqnr_db=min_sqnr,
        strict=strict,
        threads=threads,
    )
    found = verify(bundle, options, on_row=lambda row: console.detail(f"{row.artifact}: {_verdict(row)}"))
    rows = found.rows
    wrong = [row for row in rows if not row.ok or (strict and not row.checked)]
    console.result(found, _table(console, bundle, rows))
    for row in rows:
        if row.agreement is not None:
            console.say(f"{row.artifact}: {_answers(row)}")
    real = data is not None
    if weak := [row for row in rows if row.sqnr_db is not None and row.images * real < _wanted(row) > FEW]:
        console.warn(_too_few(weak, real=real))
    if wrong:
        names = ", ".join(f"{row.artifact}: {_verdict(row)}" for row in wrong)
        console.warn(f"{bundle} is not verified: {names}")
        raise click.exceptions.Exit(VerificationError.exit_code)
    ran = sum(row.checked for row in rows)
    console.say(f"{bundle}: {len(rows)} artifacts rebuilt byte for byte, {ran} run and compared")
    for row in rows:
        if not row.checked:
            console.warn(f"{row.artifact}: {_verdict(row)}")
    here = [row for row in rows if targets.get(row.target).info.runs_here]
    if here:
        which = [word for row in here for word in ("--artifact", row.artifact)] if widths or artifacts else []
        names = ",".join(dict.fromkeys(row.target for row in here))
        console.next_commands(
            step(
                *("bench", bundle, which or (("--target", names) if wanted else ()), given("--threads")),
                *("-o", fresh("table.json")),
            )
        )


def _verdict(row: VerifyRow) -> str:
    if not row.hash_ok:
        return "rebuilt bytes have another hash"
    if row.sqnr_db is None:
        return f"not checked: {row.reason}"
    if row.ok:
        return f"{row.sqnr_db:.1f} dB"
    instead = "" if row.remedy is None else f" (closer: pack with {row.remedy})"
    if row.changed_share:
        return f"{row.sqnr_db:.1f} dB, {_images_of(row, row.changed_share)} answers changed{instead}"
    return f"{row.sqnr_db:.1f} dB, too far from PyTorch{instead}"


def _answers(row: VerifyRow) -> str:
    """The share of same answers in words, ties apart."""
    assert row.agreement is not None
    if row.agreement == 1:
        return f"the same answer as PyTorch on all {row.images} images"
    text = f"the same answer as PyTorch on {_images_of(row, row.agreement)} images"
    if row.tie_share:
        text += f"; on {_images_of(row, row.tie_share)} PyTorch's two best are a tie at this precision"
    if row.changed_share:
        text += f"; a clear answer changed on {_images_of(row, row.changed_share)}"
    return text


def _images_of(row: VerifyRow, share: float) -> str:
    return f"{share * row.images:.0f} of {row.images}"


def _wanted(row: VerifyRow) -> int:
    return targets.get(row.target).info.precision(row.precision).limits.images


def _too_few(rows: list[VerifyRow], *, real: bool) -> str:
    """What a judgement on few images is worth, and how to get a better one."""
    names = ", ".join(dict.fromkeys(row.precision for row in rows))
    most, wanted = max(row.images for row in rows), max(map(_wanted, rows))
    kind = "images" if real else "seeded images"
    more = "give --data a set with more of them" if real else "add --data DATA"
    return f"{names} was judged on {most} {kind}; how many answers it keeps shows on {wanted} real ones: {more}"


def _table(console: Console, bundle: Path, rows: Sequence[VerifyRow]) -> Table:
    def cells(row: VerifyRow) -> tuple[str, ...]:
        figures = ("", "", "")
        if row.sqnr_db is not None and row.max_abs_error is not None and row.agreement is not None:
            figures = (f"{row.sqnr_db:.1f}", f"{100 * row.agreement:.0f} %", f"{row.max_abs_error:.1e}")
        return row.artifact, "same" if row.hash_ok else "DIFFER", row.runtime or "", *figures

    heads = ("artifact", "bytes", "ran in", "SQNR dB", "agreement", "max error")
    return console.artifact_table(str(bundle), heads, map(cells, rows))
