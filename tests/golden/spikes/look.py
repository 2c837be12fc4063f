"""Where constants stand in files: every order of axes, every dtype, longest first, nothing taken twice."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from described import Array, Artifact, Constant, Place

INTEGERS = {"integers": "i8", "bias_integers": "i32"}


def f16_coreml(values: Array) -> Array:
    """coremltools keeps the sign of what float16 loses, in constants of fewer than 400 elements."""
    half = values.astype("<f2")
    tiny = np.float16(2.0**-24)
    lost = (np.abs(half) <= tiny) & (np.abs(values) > np.float32(2.0**-149))
    half[lost] = np.where(values[lost] > 0, tiny, -tiny)
    return half


def forms(constant: Constant, rows: slice) -> Iterator[tuple[tuple[int, ...], str, bytes]]:
    """(layout, dtype, bytes), the plainest of equal ones first."""
    values, seen = constant.values[rows], set()
    with np.errstate(over="ignore", under="ignore"):
        stored = {"f32": values.astype("<f4"), "f16": values.astype("<f2"), "f16-coreml": f16_coreml(values)}
    kinds = {INTEGERS[constant.kind]: values} if constant.kind in INTEGERS else stored
    for dtype, numbers in kinds.items():
        for layout in itertools.permutations(range(values.ndim)):
            content = np.ascontiguousarray(numbers.transpose(layout)).tobytes()
            if content not in seen:
                seen.add(content)
                yield layout, dtype, content


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """``artifact`` with places filled in, constants that stand nowhere, and what is left of the files."""

    artifact: Artifact
    missing: tuple[Constant, ...]
    constant_bytes: int  # stored once; as float32 where missing
    verbatim_bytes: int
    template: bytes  # without names
    template_with_names: bytes

    def deflated(self) -> tuple[int, int]:
        return len(zlib.compress(self.template, 9)), len(zlib.compress(self.template_with_names, 9))


class _Looker:
    def __init__(self, artifact: Artifact, constants: Sequence[Constant]) -> None:
        self.files, self.constants = artifact.files, constants
        self.free = {path: bytearray(b"\1" * len(content)) for path, content in artifact.files.items()}
        self.placed: list[list[Place]] = [[] for _ in constants]
        self.names: list[list[Place]] = [[] for _ in constants]

    def look_for(self, pieces: Sequence[tuple[int, slice]]) -> None:
        """Take what is free, the longest first; a piece whose place an equal one took stands there too."""
        forms_of = ((*piece, *form) for piece in pieces for form in forms(self.constants[piece[0]], piece[1]))
        for index, rows, layout, dtype, content in sorted(forms_of, key=lambda item: -len(item[4])):
            if not any(content) or any(place.dtype != dtype for place in self.placed[index]):
                continue
            standing = [(path, at) for path, at in _occurrences(self.files, content)]
            free = [(path, at) for path, at in standing if all(self.free[path][at : at + len(content)])]
            if any(place.first == rows.start and place.rows == rows.stop - rows.start for place in self.placed[index]):
                standing = []
            for path, at in free or standing[:1]:
                self.free[path][at : at + len(content)] = bytes(len(content))
                self.placed[index].append(_place(path, at, layout, rows, dtype))
            name = hashlib.sha256(content).hexdigest().encode()
            self.names[index] += [
                _place(path, at, layout, rows, "sha256") for path, at in _occurrences(self.files, name)
            ]

    def left(self) -> bytes:
        return b"".join(bytes(itertools.compress(content, self.free[path])) for path, content in self.files.items())


def _place(path: str, offset: int, layout: tuple[int, ...], rows: slice, dtype: str) -> Place:
    return Place(path=path, offset=offset, layout=layout, first=rows.start, rows=rows.stop - rows.start, dtype=dtype)


def look(artifact: Artifact, constants: Sequence[Constant]) -> Seen:
    """Whole constants; then halves, quarters … of the axis 0 of those that are missing."""
    looker = _Looker(artifact, constants)
    pieces = [(index, slice(0, len(constant.values))) for index, constant in enumerate(constants)]
    while pieces:
        looker.look_for(pieces)
        pieces = [half for piece in pieces for half in _halves(*piece) if not _covered(looker.placed, *piece)]
    with_names = looker.left()
    for place in itertools.chain(*looker.names):
        looker.free[place.path][place.offset : place.offset + 64] = bytes(64)
    found = tuple(
        replace(c, places=(*placed, *names))
        for c, placed, names in zip(constants, looker.placed, looker.names, strict=True)
    )
    return Seen(
        artifact=replace(artifact, constants=found),
        missing=tuple(constant for constant in found if _rows(constant) < len(constant.values)),
        constant_bytes=sum(_stored(constant, len(constant.values)) for constant in found),
        verbatim_bytes=sum(_stored(constant, _rows(constant)) for constant in found),
        template=looker.left(),
        template_with_names=with_names,
    )


def _halves(index: int, rows: slice) -> list[tuple[int, slice]]:
    middle = (rows.start + rows.stop) // 2
    return [(index, slice(rows.start, middle)), (index, slice(middle, rows.stop))] if middle > rows.start else []


def _covered(placed: Sequence[Sequence[Place]], index: int, rows: slice) -> bool:
    return any(place.first <= rows.start and place.first + place.rows >= rows.stop for place in placed[index])


def _rows(constant: Constant) -> int:
    """Positions of axis 0 that stand somewhere."""
    return len({row for p in constant.places if p.dtype != "sha256" for row in range(p.first, p.first + p.rows)})


def _stored(constant: Constant, rows: int) -> int:
    size = {"f16": 2, "f16-coreml": 2, "i8": 1}.get(constant.places[0].dtype if constant.places else "", 4)
    return int(constant.values.size) // len(constant.values) * rows * size


def _occurrences(files: Mapping[str, bytes], content: bytes) -> Iterator[tuple[str, int]]:
    for path, whole in files.items():
        offset = whole.find(content)
        while offset >= 0:
            yield path, offset
            offset = whole.find(content, offset + 1)
