"""Where constants stand in files: every order of axes, every dtype, longest first, nothing taken twice."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterator, Sequence
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


def forms(constant: Constant) -> Iterator[tuple[tuple[int, ...], str, bytes]]:
    """(layout, dtype, bytes), the plainest of equal ones first."""
    values, seen = constant.values, set()
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
    constant_bytes: int  # of one place of every constant that stands somewhere, plus all of the missing as float32
    verbatim_bytes: int
    template: bytes  # without names
    template_with_names: bytes

    def deflated(self) -> tuple[int, int]:
        return len(zlib.compress(self.template, 9)), len(zlib.compress(self.template_with_names, 9))


def look(artifact: Artifact, constants: Sequence[Constant]) -> Seen:
    free = {path: bytearray(b"\1" * len(content)) for path, content in artifact.files.items()}
    placed: dict[int, list[Place]] = {index: [] for index in range(len(constants))}
    candidates = sorted(
        ((index, *form) for index, constant in enumerate(constants) for form in forms(constant)),
        key=lambda item: -len(item[3]),
    )
    names: list[tuple[int, Place]] = []
    for index, layout, dtype, content in candidates:
        if placed[index] and placed[index][0].dtype != dtype:
            continue
        for path, offset in _occurrences(artifact.files, content):
            if all(free[path][offset : offset + len(content)]):
                free[path][offset : offset + len(content)] = bytes(len(content))
                placed[index].append(Place(path=path, offset=offset, layout=layout, dtype=dtype))
        if not placed[index]:  # equal to a constant that took the place
            where = next(_occurrences(artifact.files, content), None)
            if where and any(content):
                placed[index].append(Place(path=where[0], offset=where[1], layout=layout, dtype=dtype))
        name = hashlib.sha256(content).hexdigest().encode()
        for path, offset in _occurrences(artifact.files, name):
            names.append((index, Place(path=path, offset=offset, layout=layout, dtype="sha256")))
    without = _left(artifact, free)
    for index, place in names:
        free[place.path][place.offset : place.offset + 64] = bytes(64)
        placed[index].append(place)
    found = tuple(replace(constant, places=tuple(placed[i])) for i, constant in enumerate(constants))
    verbatim = sum(_stored(constant) for constant in found if constant.places)
    missing = tuple(constant for constant in found if not constant.places)
    return Seen(
        artifact=replace(artifact, constants=found),
        missing=missing,
        constant_bytes=verbatim + sum(constant.values.nbytes for constant in missing),
        verbatim_bytes=verbatim,
        template=_left(artifact, free),
        template_with_names=without,
    )


def _stored(constant: Constant) -> int:
    return constant.values.size * {"f32": 4, "i32": 4, "i8": 1, "sha256": 0}.get(constant.places[0].dtype, 2)


def _left(artifact: Artifact, free: dict[str, bytearray]) -> bytes:
    left = [bytes(itertools.compress(content, free[path])) for path, content in artifact.files.items()]
    return b"".join(left)


def _occurrences(files: dict[str, bytes], content: bytes) -> Iterator[tuple[str, int]]:
    for path, whole in files.items():
        offset = whole.find(content)
        while offset >= 0:
            yield path, offset
            offset = whole.find(content, offset + 1)
