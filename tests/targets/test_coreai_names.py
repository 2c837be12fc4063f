"""Stable names in Core AI's bytecode, shown on programs written here by the published format, number by number."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from edgeslim.errors import ExportError
from edgeslim.targets.coreai_names import with_stable_names

MAGIC = b"ML\xefR"
STRINGS, RESOURCES, OFFSETS, PROPERTIES = 0, 5, 6, 8
WEIGHTS = (bytes(range(64)), b"\1" * 300, b"\2" * 70_000)  # lengths of one, two and three bytes
DRAWN = (b"resource_7", b"resource_12345678901234567890", b"resource_2275275637086169217")


def varint(value: int) -> bytes:
    """The format's own: the count of trailing zeros says how many bytes follow."""
    for follow in range(8):
        if value < 1 << 7 * (follow + 1):
            return ((value * 2 + 1) << follow).to_bytes(follow + 1, "little")
    return b"\0" + value.to_bytes(8, "little")


def section(number: int, data: bytes) -> bytes:
    return bytes([number]) + varint(len(data)) + data


def aligned(number: int, data: bytes, *, at: int, alignment: int) -> bytes:
    head = bytes([number | 0x80]) + varint(len(data)) + varint(alignment)
    return head + b"\xcb" * (-(at + len(head)) % alignment) + data


def blob(data: bytes, *, at: int) -> bytes:
    head = varint(16) + varint(len(data))
    return head + b"\xcb" * (-(at + len(head)) % 16) + data


def strings(texts: Sequence[bytes]) -> bytes:
    lengths = b"".join(varint(len(text) + 1) for text in reversed(texts))
    return varint(len(texts)) + lengths + b"".join(text + b"\0" for text in texts)


def pieces(
    names: Sequence[bytes] = DRAWN,
    weights: Sequence[bytes] = WEIGHTS,
    *,
    version: int = 6,
    kind: int = 0,
    external: int = 0,
    unlisted: bytes = b"",
    behind: bytes = b"",
) -> list[bytes]:
    """Bytecode whose strings are ``aicode``, ``names`` and ``main``; ``names`` name ``weights``. Head and sections."""
    entries: list[bytes] = []
    for data in weights:
        entries.append(blob(data, at=sum(map(len, entries))))  # the section itself stands at a multiple of 16
    listed = b"".join(varint(1 + index) + varint(len(entry)) + bytes([kind]) for index, entry in enumerate(entries))
    made = [MAGIC + varint(version) + b"MLIR22.0.0git\0", section(1, b"dialects")]
    made.append(section(OFFSETS, varint(external) + varint(0) + varint(len(entries)) + listed))
    made.append(aligned(RESOURCES, b"".join(entries) + unlisted, at=sum(map(len, made)), alignment=16))
    made.append(section(STRINGS, strings([b"aicode", *names, b"main"])))
    made.append(behind or section(PROPERTIES, b"properties"))
    return made


def program(*shown: Sequence[bytes], **settings: Any) -> bytes:
    return b"".join(pieces(*shown, **settings))


def name_of(data: bytes) -> bytes:
    return b"resource_%020d" % int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def test_only_the_names_change_and_say_what_they_name() -> None:
    expected = program([name_of(data) for data in WEIGHTS])
    assert with_stable_names(program()) == expected
    assert with_stable_names(expected) == expected


def test_names_of_any_length_give_the_same_bytes() -> None:
    other = (b"resource_10356418883221361014", b"resource_1", b"resource_11661662342958379420")
    assert len(program(other)) != len(program())
    assert with_stable_names(program(other)) == with_stable_names(program())


def test_names_that_nobody_drew_stay() -> None:
    named = (b"dense_resource", b"stem.weight", b"resource_seven")
    assert with_stable_names(program(named)) == program(named)


def test_equal_constants_keep_names_of_their_own() -> None:
    same = (WEIGHTS[0], WEIGHTS[0], WEIGHTS[1])
    name = name_of(same[0])
    assert with_stable_names(program(DRAWN, same)) == program((name, name + b"_1", name_of(same[2])), same)


def test_a_program_without_constants_stays() -> None:
    bare = MAGIC + varint(6) + b"MLIR\0" + section(STRINGS, strings([b"main"]))
    assert with_stable_names(bare) == bare


GOOD = program()
UNKNOWN = {
    "another file": (b"PK\3\4" + GOOD[4:], "it is not MLIR bytecode"),
    "an older version": (program(version=5), "its version is 5, expected 6"),
    "cut short": (GOOD[:-1], "1 bytes too early"),
    "a section twice": (GOOD + section(PROPERTIES, b""), "section 8 comes twice"),
    "something aligned behind": (
        program(behind=aligned(PROPERTIES, b"properties", at=0, alignment=1)),
        "behind its strings is aligned",
    ),
    "an odd alignment": (GOOD + bytes([0x80 | 9]) + varint(0) + varint(3), "an alignment of 3"),
    "a constant that is a string": (program(kind=2), "is not one constant"),
    "constants of another kind of group": (program(external=1), "names of constants that it does not have"),
    "a name without constant": (program((*DRAWN, b"resource_9")), "names of constants that it does not have"),
    "no list of resources": (
        MAGIC + varint(6) + b"MLIR\0" + section(STRINGS, strings(DRAWN)),
        "there is no list of them",
    ),
    "other padding": (GOOD.replace(b"\xcb" + WEIGHTS[0], b"\0" + WEIGHTS[0]), "not stored as expected"),
    "a constant without name": (program(unlisted=b"more"), "resources that nothing names"),
    "strings that do not end": (GOOD.replace(b"main\0", b"main!"), "strings are not told apart"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_understood_is_refused(what: str) -> None:
    data, reason = UNKNOWN[what]
    assert data != GOOD
    with pytest.raises(ExportError, match=f"cannot be normalised: .*{reason}") as caught:
        with_stable_names(data)
    assert "constraints.txt" in (caught.value.hint or "")


def test_nothing_cut_short_passes_unless_between_sections() -> None:
    parts = pieces(DRAWN[:1], WEIGHTS[:1])
    whole, between = b"".join(parts), set(itertools.accumulate(map(len, parts)))

    def passes(length: int) -> bool:
        try:
            with_stable_names(whole[:length])
        except ExportError:
            return False
        return True

    passed = {length for length in range(len(whole) + 1) if passes(length)}
    assert len(whole) in passed
    assert passed <= between
