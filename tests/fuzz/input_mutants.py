"""Structure-aware mutants of everything that edgeslim reads, and what must hold for each.

    kind ─ seeds ─► mutant (tokens exchanged, values made hostile, parts blown up to 1 MB; checksums repaired)
                      └─► reader ─► accepted, or refused as an EdgeslimError: within 100 ms of CPU time and 64 MB,
                                    without a file written anywhere

``profiling/soak_inputs.py`` runs a million of bundles and a hundred thousand of every other kind; the tests run 1 %.
A mutant is made from its kind and number alone, so every fault can be had again.
"""

from __future__ import annotations

import functools
import io
import os
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

TESTS = Path(__file__).resolve().parents[1]
for folder in ("fuzz", "bench", "deploy"):
    sys.path.insert(0, str(TESTS / folder))

import bundle_target  # noqa: E402
from table_rows import row, table  # noqa: E402

from edgeslim.core.bundle import SlimBundle  # noqa: E402
from edgeslim.core.events import EVENTS, Refused  # noqa: E402
from edgeslim.core.job import Job  # noqa: E402
from edgeslim.core.ladder import ladder  # noqa: E402
from edgeslim.core.latency import LatencyTable  # noqa: E402
from edgeslim.core.policy import PRESETS, Policy  # noqa: E402
from edgeslim.errors import EdgeslimError  # noqa: E402
from edgeslim.host.decoding import decode  # noqa: E402

CPU_S = 0.1
MEMORY_KB = 64 << 10
LARGEST_BYTES = 1 << 20

_TOKEN = re.compile(rb'"[^"]*"|-?[0-9][0-9.eE+-]*|true|false|null|[][{},:]')
_HOSTILE = (
    b"null", b"0", b"-1", b"-0", b"1.5", b"1e999", b"1e308", b"9007199254740993", b"1" * 5000, b"true", b"[]", b"{}",
    b"", b"\xff", b'"\\ud800"', b'"\\u0000"', b'"../x"', b'"/etc/passwd"', b'"' + b"x" * 300 + b'"', b"NaN",
    b"Infinity", b'"\x1b]0;x\x07"', b"[[[[[[[[", b'{"":{}}',
)  # fmt: skip


def mutated_text(seed: bytes, rng: random.Random) -> bytes:
    """JSON or another text with some tokens, or some bytes, exchanged."""
    data = seed
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        tokens = [match.span() for match in _TOKEN.finditer(data)]
        if tokens and rng.random() < 0.85:
            (start, end), (first, last) = rng.choice(tokens), rng.choice(tokens)
            data = (
                data[:start] + rng.choice((data[first:last], rng.choice(_HOSTILE), rng.choice(_HOSTILE))) + data[end:]
            )
        else:
            data = mutated_bytes(data, rng)
    return blown_up(data, rng)


def mutated_bytes(seed: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(seed) + 1), rng.choice((0, 1, 1, 2, 4, 8))
    new = rng.choice((rng.randbytes(size), b"", b"\xff" * size, b"\0" * size, seed[at : at + 16]))
    return seed[:at] + new + seed[at + size :]


def blown_up(data: bytes, rng: random.Random) -> bytes:
    """Rarely: a part of it repeated until there is about a megabyte."""
    if not data or rng.random() > 0.005:
        return data
    start = rng.randrange(len(data))
    tokens = [match.span() for match in _TOKEN.finditer(data[:LARGEST_BYTES])]
    if tokens and rng.random() < 0.6:  # a list with very many of the same
        first, last = rng.choice(tokens)
        item = data[first:last] + b","
        return (data[:first] + item * ((LARGEST_BYTES - len(data)) // len(item)) + data[first:])[:LARGEST_BYTES]
    part = data[start : start + rng.choice((1, 2, 8, 64, 500))]
    return (data[:start] + part * (LARGEST_BYTES // len(part)) + data[start:])[:LARGEST_BYTES]


# What is read


def read_table(data: bytes) -> None:
    ladder(LatencyTable.from_json(data), target="litert")


def read_event(data: bytes) -> None:
    event = EVENTS.from_line(data)
    if isinstance(event, Refused):
        raise event.error("board")


def read_image(data: bytes) -> None:
    decode(data, "x", 3)


def read_bundle(data: bytes) -> None:
    SlimBundle.from_bytes(bundle_target.bundle_of(data)).check("files")


def bundle_seeds() -> list[bytes]:
    return [*bundle_target.seeds(), *20 * bundle_target.plain_seeds()]


def read_checkpoint(data: bytes) -> None:
    from edgeslim.models.checkpoint import load_checkpoint

    with tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
        file.write(data)
        file.flush()
        load_checkpoint(file.name)


@functools.cache
def _table_seeds() -> list[bytes]:
    rows = [row(width / 100, seed=width, blocks=1, width_permille=width) for width in (500, 1000)]
    return [table(*rows).to_json().encode()]


@functools.cache
def _golden(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((TESTS / "golden" / "jobs").glob(pattern))]


@functools.cache
def _images() -> list[bytes]:
    rng = np.random.default_rng(0)
    colour, gray = rng.integers(0, 256, (9, 7, 3), np.uint8), rng.integers(0, 256, (9, 7), np.uint8)
    found = []
    for form, image in (
        ("PNG", Image.fromarray(colour)), ("PNG", Image.fromarray(gray)), ("JPEG", Image.fromarray(colour)),
        ("GIF", Image.fromarray(gray)), ("BMP", Image.fromarray(colour)), ("WEBP", Image.fromarray(colour)),
        ("PPM", Image.fromarray(colour)), ("PNG", Image.fromarray(gray.astype(np.uint16) * 257)),
        ("PNG", Image.fromarray(colour).quantize(7)),
    ):  # fmt: skip
        stream = io.BytesIO()
        image.save(stream, form)
        found.append(stream.getvalue())
    return found


def mutated_image(seed: bytes, rng: random.Random) -> bytes:
    data = seed
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = mutated_bytes(data, rng)
        if rng.random() < 0.3 and len(data) > 30:  # a size, in whatever byte order
            at = rng.randrange(8, min(len(data) - 4, 60))
            data = data[:at] + rng.choice((0xFFFF, 65000, 30000, 1, 0, 1 << 30)).to_bytes(4, "big") + data[at + 4 :]
    return blown_up(_png_repaired(data) if data.startswith(b"\x89PNG") else data, rng)


def _png_repaired(data: bytes) -> bytes:
    """With the CRC of every chunk that is whole."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        size = int.from_bytes(out[at : at + 4], "big")
        if at + 12 + size > len(out):
            break
        out[at + 8 + size : at + 12 + size] = zlib.crc32(out[at + 4 : at + 8 + size]).to_bytes(4, "big")
        at += 12 + size
    return bytes(out)


@functools.cache
def _checkpoint() -> dict[str, bytes]:
    """The members of a small checkpoint's zip."""
    import torch

    from edgeslim.core.width import Width
    from edgeslim.models.checkpoint import Checkpoint
    from edgeslim.models.registry import create

    torch.manual_seed(0)
    model = create("us_mobilenet_v1", num_classes=2, input_size=16, low=Width(50), high=Width(50))
    model.set_statistics(
        Width(50),
        {
            name: (torch.zeros(norm.outputs.at(Width(50))), torch.ones(norm.outputs.at(Width(50))))
            for name, norm in model.norms().items()
        },
    )
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        Checkpoint.from_model(model, provenance={"notes": ["x"], "seed": 1}).save(Path(file.name), overwrite=True)
        with zipfile.ZipFile(file.name) as archive:
            return {member: archive.read(member) for member in archive.namelist()}


_PICKLED = re.compile(
    rb"X.\0\0\0[\x20-\x7e]{1,40}|K.|M..|J....|G........|c[\w.]+\n\w+\n|[Qh].|r....|[()\]}tuseaR.N]", re.DOTALL
)
_PICKLE_WORDS = (
    b"N", b"K\0", b"J\xff\xff\xff\xff", b"J\xff\xff\xff\x7f", b"\x8a\x09" + b"\xff" * 9, b"]", b"}", b")",
    b"X\x01\0\0\0x",
    b"G\x7f\xf8\0\0\0\0\0\0", b"X\xff\xff\xff\x7fx", b"cbuiltins\nbytearray\n", b"ctorch\nTensor\n", b"cos\nsystem\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n", b"r\xff\xff\xff\x7f", b"h\xff", b"Q", b"R", b"b", b"\x81", b"\x88",
    b"2",
)  # fmt: skip


def mutated_checkpoint(nothing: bytes, rng: random.Random) -> bytes:
    members = dict(_checkpoint())
    pickled = next(name for name in members if name.endswith("data.pkl"))
    kind = rng.random()
    if kind < 0.8:
        data = members[pickled]
        for _ in range(rng.choice((1, 1, 2, 3))):
            tokens = [match.span() for match in _PICKLED.finditer(data)]
            (start, end), (first, last) = rng.choice(tokens), rng.choice(tokens)
            data = data[:start] + rng.choice((data[first:last], rng.choice(_PICKLE_WORDS))) + data[end:]
        members[pickled] = blown_up(data, rng)
    else:
        name = rng.choice(list(members))
        members[name] = mutated_bytes(members[name], rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.02 else zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    data = stream.getvalue()
    return mutated_bytes(data, rng) if kind > 0.97 else data


def mutated_bundle(seed: bytes, rng: random.Random) -> bytes:
    """What ``bundle_of`` puts into a bundle with right hashes: the part's number, then its content."""
    data = seed[1:]
    tokens = [match.span() for match in _TOKEN.finditer(data)] if seed[0] % 10 else []
    if len(tokens) > 20 and rng.random() < 0.8:
        (start, end), (first, last) = rng.choice(tokens), rng.choice(tokens)
        data = data[:start] + rng.choice((data[first:last], rng.choice(_HOSTILE))) + data[end:]
    else:
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = mutated_bytes(data, rng)
    return seed[:1] + blown_up(data, rng)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``full``: how many the soak reads."""

    name: str
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[bytes, random.Random], bytes]
    read: Callable[[bytes], object]
    full: int = 100_000

    def mutant(self, number: int) -> bytes:
        rng = random.Random(f"{self.name} {number}")
        return self.mutate(rng.choice(self.seeds()), rng)


def _policies() -> list[bytes]:
    return [policy.to_json().encode() for policy in PRESETS.values()]


KINDS = (
    Kind(name="bundle", seeds=bundle_seeds, mutate=mutated_bundle, read=read_bundle, full=1_000_000),
    Kind(name="checkpoint", seeds=lambda: [b""], mutate=mutated_checkpoint, read=read_checkpoint),
    Kind(name="table", seeds=_table_seeds, mutate=mutated_text, read=read_table),
    Kind(name="policy", seeds=_policies, mutate=mutated_text, read=Policy.from_json),
    Kind(name="job", seeds=lambda: _golden("job-*.json"), mutate=mutated_text, read=Job.from_json),
    Kind(name="event", seeds=lambda: _golden("event-*.json"), mutate=mutated_text, read=read_event),
    Kind(name="image", seeds=_images, mutate=mutated_image, read=read_image),
)


@dataclass(kw_only=True)
class Outcome:
    """What was seen; ``faults``: (number of the mutant, what was wrong)."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    largest_kb: int = 0
    cpu_s: float = 0.0
    faults: list[tuple[int, str]] = field(default_factory=list)


def run(kind: Kind, numbers: Iterable[int]) -> Outcome:
    """Read mutants, in an empty folder that must stay empty."""
    outcome = Outcome()
    began = time.process_time()
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        try:
            for number in numbers:
                _one(kind, number, outcome)
                if os.listdir(empty):
                    outcome.faults.append((number, f"wrote {os.listdir(empty)}"))
                    break
        finally:
            os.chdir(before)
    outcome.cpu_s = time.process_time() - began
    return outcome


def _one(kind: Kind, number: int, outcome: Outcome) -> None:
    data = kind.mutant(number)
    memory = _memory_kb(begin=True)
    began = time.thread_time()
    try:
        kind.read(data)
        answer = "accepted"
    except EdgeslimError:
        answer = "refused"
    except Exception:
        answer = "crashed"
        outcome.faults.append((number, traceback.format_exc(limit=-4)))
    seconds = time.thread_time() - began
    grown = _memory_kb() - memory
    outcome.counts[answer] += 1
    if answer == "refused":
        outcome.slowest_s, outcome.largest_kb = max(outcome.slowest_s, seconds), max(outcome.largest_kb, grown)
        if seconds > CPU_S:
            outcome.faults.append((number, f"refused after {seconds:.3f} s of CPU time ({len(data)} bytes)"))
        if grown > MEMORY_KB:
            outcome.faults.append((number, f"refused after {grown} KB ({len(data)} bytes)"))


def _memory_kb(*, begin: bool = False) -> int:
    """The most memory of this process since the last ``begin``; elsewhere than on Linux since it was started."""
    try:
        if begin:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.partition("VmHWM:")[2].split()[0])


def warmed(kind: Kind) -> Kind:
    """Imports and caches are paid for before anything is measured."""
    for number in range(-5, 0):
        _one(kind, number, Outcome())
    return kind
