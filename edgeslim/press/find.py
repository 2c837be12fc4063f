"""Finding the net's constants inside an exporter's files.

    files + NetConstants ─► anchors: 8 bytes of every constant in every layout and rule
                         ─► one scan of every file at 4-byte steps, the whole constant compared at every hit
                         ─► what is still missing: searched byte by byte in the gaps
                         ─► grouped and fused layers still missing: the same again, piece by piece
                         ─► names: SHA-256 of what was found, as digits (ExecuTorch calls constants so)
                         ─► segments + template, rebuilt and compared with the files before they are handed out

Never wrong, only bigger: what no rule explains stays literal. Where bytes could be taken twice, the larger constant,
then the lowest offset, then a constant not used yet, then the order of the masters decide.
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeslim.core.constants import WHOLE_KINDS, Constant, Kind, NetConstants, is_integer, shape_of, values
from edgeslim.core.cut import permutation
from edgeslim.core.deflate import TemplateReader, deflated_template
from edgeslim.core.manifest import FileEntry
from edgeslim.core.rebuild import check_files
from edgeslim.core.recipe import FLOAT_RULES, Rule, Segment, rules_for, segment_bytes, segment_content, stored
from edgeslim.errors import FormatError, InternalError
from edgeslim.press.build import PackedArtifact

_ANCHOR_BYTES = 8
_STEP_BYTES = 4  # every exporter aligns its large constants at least so; what is not is found in the gaps
_SCAN_WORDS = 1 << 20
_TABLE_BITS = 20
_ANCHOR_TRIES = 64
_MIN_BYTES = 8
_MAX_SPLIT = 256
_MIN_HALF = 4  # rows of a piece of an int32 bias
_MAX_NAMED_BYTES = 1 << 16  # a device hashes what a name stands for once more: not worth it for large float weights
COREML_SMALL = 400  # coremltools treats underflows only in constants of fewer elements

# Layouts that exporters use, by the number of axes: all of up to three; OIHW, OHWI, IOHW, IHWO, HWOI, HWIO of four.
_LAYOUTS = {1: range(1), 2: range(2), 3: range(6), 4: (0, 3, 6, 9, 16, 17)}

Array = npt.NDArray[Any]

# What may stand for a weight, and for a bias.
_WEIGHTS = (Kind.WEIGHT, Kind.INTEGERS, Kind.DEQUANTISED_WEIGHT)
_BIASES = (Kind.BIAS, Kind.BIAS_INTEGERS, Kind.DEQUANTISED_BIAS)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A constant, whole (``rows`` 0) or some rows of it."""

    constant: Constant
    first_row: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class _Match:
    """A constant whose stored bytes stand at ``segment.offset``."""

    wanted: _Wanted
    segment: Segment
    size: int


def find_constants(
    files: Sequence[tuple[str, bytes]], net: NetConstants, kinds: frozenset[Kind] = frozenset(Kind)
) -> PackedArtifact:
    """Take an artifact apart.

    Args:
        files: (path, content) of every file, sorted by path.
        net: everything its constants are made from.
        kinds: which constants to look for.

    Returns:
        Segments and template that rebuild exactly these files (proved here), and how many bytes of the net's
        constants they explain. Equal constants that the exporter stored once count once.

    Raises:
        InternalError: the result does not rebuild the files.
    """
    search = _Search([content for _, content in files], net)
    whole = [
        _Wanted(constant) for constant in net.all() if constant.kind in kinds and constant.kind != Kind.INPUT_SCALE
    ]
    wanted = [one for one in whole if search.numbers(one).any()]  # zeros stand anywhere: they are left to the template
    while wanted:
        search.look_for(wanted)
        missing = [one for one in wanted if one not in search.found]
        wanted = [piece for one in missing for piece in _pieces(one, net)]
    search.look_for_names()
    packed = search.packed(files, whole)
    _prove(packed, files, net)
    return packed


def _pieces(wanted: _Wanted, net: NetConstants) -> list[_Wanted]:
    """The groups of a grouped layer, or the parts that stand along axis 0, each for itself.

    Of int32 biases the halves, again and again: exporters round what is beyond 2^22 in their own ways, and one such
    row must not cost all others.
    """
    kind, cut = wanted.constant.kind, net.cuts[wanted.constant.master]
    if cut.master.role != "weight":
        return []
    first, count = wanted.first_row, wanted.rows or shape_of(cut, kind)[0]
    if kind is Kind.BIAS_INTEGERS and (wanted.rows or cut.groups_kept == 1):
        edges = [first, first + count // 2] if count >= 2 * _MIN_HALF else []
    elif wanted.rows:
        edges = []
    elif kind not in WHOLE_KINDS and cut.master.rows == 1:
        edges = [group * cut.shape[1] for group in range(cut.groups_kept)]
    elif cut.group is not None:
        edges = np.flatnonzero(np.diff(cut.group, prepend=-1)).tolist()
    else:
        edges = np.cumsum([0, *(last - begin for begin, last in cut.runs[0])])[:-1].tolist()
    rows = [after - before for before, after in itertools.pairwise([*edges, first + count])]
    if not 1 < len(rows) <= _MAX_SPLIT or min(rows) == 1:
        return []
    return [replace(wanted, first_row=edge, rows=length) for edge, length in zip(edges, rows, strict=True)]


class _Search:
    """What has been found in the joined files so far."""

    def __init__(self, contents: Sequence[bytes], net: NetConstants) -> None:
        self.net = net
        self.joined = b"".join(contents)
        self.starts = [sum(map(len, contents[:i])) for i in range(len(contents) + 1)]
        self.found: set[_Wanted] = set()  # stored here, or equal to one that is
        self.taken: list[tuple[int, int, Segment]] = []  # (start, end, segment), ascending, never overlapping

    def look_for(self, wanted: Sequence[_Wanted]) -> None:
        """Scan for all of them, then search the gaps for those that were not there."""
        if wanted:
            self._take(self._scan(wanted))
            for one in sorted(wanted, key=lambda w: -self.numbers(w).size):
                if one not in self.found:
                    self._take(self._search_gaps(one))

    def numbers(self, wanted: _Wanted) -> Array:
        rows = slice(wanted.first_row, wanted.first_row + wanted.rows) if wanted.rows else None
        return values(wanted.constant, self.net, rows)

    def _forms(self, wanted: _Wanted, numbers: Array) -> list[tuple[int, Rule]]:
        """The layouts and rules that give different bytes; the plainest of equal ones."""
        layouts: dict[tuple[int, ...], int] = {}
        for layout in _LAYOUTS.get(numbers.ndim, range(1)):
            order = permutation(layout, numbers.ndim)
            assert order is not None
            layouts.setdefault(tuple(axis for axis in order if numbers.shape[axis] > 1), layout)
        master = self.net.cuts[wanted.constant.master]
        rules = sorted(rules_for(master, wanted.constant.kind))
        small = numbers.size < COREML_SMALL and not is_integer(master.master, wanted.constant.kind)
        if not small or np.array_equal(
            stored(numbers, Rule.F16).view(np.uint16), stored(numbers, Rule.F16_COREML).view(np.uint16)
        ):
            rules = [rule for rule in rules if rule is not Rule.F16_COREML]
        return [(layout, rule) for rule in rules for layout in layouts.values()]

    # The scan

    def _scan(self, wanted: Sequence[_Wanted]) -> list[_Match]:
        anchors: dict[bytes, list[tuple[_Wanted, int, Rule, int]]] = defaultdict(list)
        for one in wanted:
            numbers = self.numbers(one)
            for layout, rule in self._forms(one, numbers):
                anchor = _anchor(numbers, layout, rule)
                if anchor is not None:
                    anchors[anchor[0]].append((one, layout, rule, anchor[1]))
        matches = []
        for position in self._positions(list(anchors)):
            for one, layout, rule, at in anchors[self.joined[position : position + _ANCHOR_BYTES]]:
                match = self._match(one, layout, rule, position - at)
                if match is not None:
                    matches.append(match)
        return matches

    def _positions(self, anchors: list[bytes]) -> Iterator[int]:
        """Offsets in the joined files, at 4-byte steps inside every file, where an anchor stands."""
        if not anchors:
            return
        known = set(anchors)
        table = np.zeros(1 << _TABLE_BITS, np.bool_)
        table[_hash(np.frombuffer(b"".join(a[:4] for a in anchors), "<u4"))] = True
        for start, end in itertools.pairwise(self.starts):
            words = (end - start) // _STEP_BYTES
            for first in range(0, words, _SCAN_WORDS):
                count = min(_SCAN_WORDS, words - first)
                begin = start + first * _STEP_BYTES
                hits = np.flatnonzero(table[_hash(np.frombuffer(self.joined, "<u4", count, begin))])
                for hit in hits.tolist():
                    position = begin + hit * _STEP_BYTES
                    if self.joined[position : position + _ANCHOR_BYTES] in known:
                        yield position

    def _match(self, wanted: _Wanted, layout: int, rule: Rule, offset: int) -> _Match | None:
        if offset < 0:
            return None
        segment = _segment(wanted, layout, rule, offset)
        content = segment_content(segment, self.net)
        if self.joined[offset : offset + len(content)] != content:
            return None
        file = bisect_left(self.starts, offset + 1) - 1
        if offset + len(content) > self.starts[file + 1]:
            return None
        return _Match(wanted, segment, len(content))

    # The gaps

    def _search_gaps(self, wanted: _Wanted) -> list[_Match]:
        """The first place outside everything taken where it stands, in its likeliest form."""
        numbers = self.numbers(wanted)
        used = [segment.rule for _, _, segment in self.taken]
        for layout, rule in sorted(self._forms(wanted, numbers), key=lambda form: -used.count(form[1])):
            segment = _segment(wanted, layout, rule, 0)
            content = segment_content(segment, self.net)
            if len(content) < _MIN_BYTES:
                continue
            for start, end in self._gaps():
                offset = self.joined.find(content, start, end)
                if offset >= 0:
                    return [_Match(wanted, replace(segment, offset=offset), len(content))]
        return []

    def _gaps(self) -> list[tuple[int, int]]:
        """Stretches of the joined files, none across two files, that no segment covers."""
        edges = sorted([(s, e) for s, e, _ in self.taken] + [(start, start) for start in self.starts])
        gaps = [(end, begin) for (_, end), (begin, _) in itertools.pairwise(edges)]
        return [(start, end) for start, end in gaps if end - start >= _MIN_BYTES]

    # Names

    def look_for_names(self) -> None:
        """Take the digits of hashes of what was found, wherever they stand."""
        names: dict[bytes, Segment] = {}
        for start, end, segment in self.taken:
            if segment.rows == 0 and (segment.rule not in FLOAT_RULES or end - start <= _MAX_NAMED_BYTES):
                digits = hashlib.sha256(self.joined[start:end]).hexdigest().encode()
                names.setdefault(digits, replace(segment, hashed=True))
        for start, end in self._gaps():
            for digits, segment in names.items():
                at = self.joined.find(digits, start, end)
                while at >= 0:
                    insort(self.taken, (at, at + len(digits), replace(segment, offset=at)), key=lambda t: t[0])
                    at = self.joined.find(digits, at + len(digits), end)

    # What is kept

    def _take(self, matches: Sequence[_Match]) -> None:
        """Keep matches that overlap nothing: large ones first, then low offsets, then constants not used yet."""
        places: dict[tuple[int, int], list[_Match]] = defaultdict(list)
        for match in matches:
            places[-match.size, match.segment.offset].append(match)
        used: set[_Wanted] = set()
        for (negative_size, offset), here in sorted(places.items(), key=lambda item: item[0]):
            self.found.update(match.wanted for match in here)
            if self._free(offset, offset - negative_size):
                best = min(here, key=lambda m: (m.wanted in used, _order(m.segment)))
                used.add(best.wanted)
                insort(self.taken, (offset, offset + best.size, best.segment), key=lambda t: t[0])

    def _free(self, start: int, end: int) -> bool:
        index = bisect_left(self.taken, start, key=lambda t: t[0])
        clear_before = index == 0 or self.taken[index - 1][1] <= start
        return clear_before and (index == len(self.taken) or self.taken[index][0] >= end)

    def packed(self, files: Sequence[tuple[str, bytes]], whole: Sequence[_Wanted]) -> PackedArtifact:
        """The result. Constants that stand nowhere count as literal, in the commonest item size."""
        if self.taken and sum(end - start for start, end, _ in self.taken) == len(self.joined):
            self.taken.pop()  # a template holds at least one byte
        template, position = [], 0
        for start, end, _ in self.taken:
            template.append(self.joined[position:start])
            position = end
        template.append(self.joined[position:])
        items = [segment.rule.item_bytes for _, _, segment in self.taken if not segment.hashed] or [4]
        item_bytes = max(set(items), key=items.count)
        literal = self._literal_numbers(whole) * item_bytes
        return PackedArtifact(
            files=tuple(
                FileEntry(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
                for path, content in files
            ),
            segments=tuple(segment for _, _, segment in self.taken),
            template=b"".join(template),
            explained_bytes=sum(end - start for start, end, segment in self.taken if not segment.hashed),
            literal_bytes=literal,
        )

    def _literal_numbers(self, wanted: Sequence[_Wanted]) -> int:
        """Numbers of the net's constants that may stand in the template.

        Of a weight (and of its bias) one form is enough: floats, integers, or what is dequantised from them. Integers
        need their scales.
        """
        there = {(one.constant.master, one.constant.kind): one for one in wanted}
        index = self.net.arrays.index
        biases = {cut.master.bias for cut in self.net.cuts}
        total = 0
        for position, cut in enumerate(self.net.cuts):
            groups = [[(position, kind) for kind in _WEIGHTS], [(position, kind) for kind in _BIASES]]
            if cut.master.bias is not None:
                groups[1].append((index[cut.master.bias], Kind.VECTOR))
            if cut.master.role != "weight":
                groups = [] if cut.master.name in biases else [[(position, Kind.VECTOR)]]
            elif there.get((position, Kind.INTEGERS)) in self.found:
                groups.append([(position, Kind.WEIGHT_SCALE)])
            for group in groups:
                total += min((self._missing(there[key]) for key in group if key in there), default=0)
        return total

    def _missing(self, wanted: _Wanted) -> int:
        """Numbers of a constant that were not found. Zeros that stand nowhere were left out (a bias)."""
        if wanted in self.found or not self.numbers(wanted).any():
            return 0
        pieces = _pieces(wanted, self.net)
        return sum(map(self._missing, pieces)) if pieces else self.numbers(wanted).size


def _segment(wanted: _Wanted, layout: int, rule: Rule, offset: int) -> Segment:
    return Segment(
        offset=offset,
        master=wanted.constant.master,
        kind=wanted.constant.kind,
        layout=layout,
        rule=rule,
        first_row=wanted.first_row,
        rows=wanted.rows,
    )


def _order(segment: Segment) -> tuple[int, ...]:
    return segment.master, segment.kind, segment.first_row, segment.rule, segment.layout


def _anchor(numbers: Array, layout: int, rule: Rule) -> tuple[bytes, int] | None:
    """8 bytes of the constant as stored and their offset, from a place with different numbers, none 0.

    None where the constant is shorter, or no such place is found: such constants are searched in the gaps.
    """
    per_anchor = _ANCHOR_BYTES // rule.item_bytes
    count = numbers.size // per_anchor
    order = permutation(layout, numbers.ndim)
    assert order is not None
    turned = numbers.transpose(order)
    tries = sorted({i * count // _ANCHOR_TRIES for i in range(_ANCHOR_TRIES)}) if count else []
    for place in tries:
        first = place * per_anchor
        index = np.unravel_index(np.arange(first, first + per_anchor), turned.shape)
        items = stored(turned[index], rule)
        if np.all(items != 0) and len(set(items.tolist())) == per_anchor:
            return items.tobytes(), first * rule.item_bytes
    return None


def _hash(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Fibonacci hashing of 4-byte words to table indices."""
    return (words * np.uint32(2_654_435_769)) >> np.uint32(32 - _TABLE_BITS)


def _prove(packed: PackedArtifact, files: Sequence[tuple[str, bytes]], net: NetConstants) -> None:
    """Rebuild from the parts and compare, so that a fault in the search can never reach a bundle."""
    covered = sum(segment_bytes(segment, net.cuts) for segment in packed.segments)
    template = TemplateReader(deflated_template(packed.template, None), len(packed.template), "the template")
    try:
        check_files(packed.files, packed.segments, net, template)
    except FormatError as error:
        raise InternalError(f"{files[0][0]} could not be rebuilt from its recipe: {error}") from error
    if covered + len(packed.template) != sum(len(content) for _, content in files):
        raise InternalError(f"{files[0][0]} could not be rebuilt from its recipe")
