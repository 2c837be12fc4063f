"""Finding the net's constants inside an exporter's files.

    files + LayerArrays ─► anchors: 8 bytes of every constant in every layout and dtype rule
                        ─► one scan of every file at 4-byte steps, the whole constant compared at every hit
                        ─► what is still missing: searched byte by byte in the gaps
                        ─► grouped convolutions still missing: the same again, group by group
                        ─► segments + template, rebuilt and compared with the files before they are handed out

Never wrong, only bigger: what no rule explains stays literal. Where bytes could be taken twice, the larger constant,
then the lowest offset, then a constant not used yet, then the order of the layers decide.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeslim.core.deflate import TemplateReader, deflated_template
from edgeslim.core.manifest import FileEntry
from edgeslim.core.rebuild import LayerArrays, segment_values, write_files
from edgeslim.core.recipe import Layout, Part, Rule, Segment, cast
from edgeslim.errors import InternalError
from edgeslim.press.build import PackedArtifact

_ANCHOR_BYTES = 8
_STEP_BYTES = 4  # every exporter aligns its large constants at least so; what is not is found in the gaps
_SCAN_WORDS = 1 << 20
_TABLE_BITS = 20
_ANCHOR_TRIES = 64
_MIN_BYTES = 8
_MAX_SPLIT = 256
COREML_SMALL = 400  # coremltools treats underflows only in constants of fewer elements

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Constant:
    """A layer's weight or bias, whole (``rows`` 0) or one group's rows of it."""

    layer: int
    part: Part
    first_row: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class _Match:
    """A constant whose stored bytes stand at ``segment.offset``."""

    constant: _Constant
    segment: Segment
    size: int


def find_constants(files: Sequence[tuple[str, bytes]], layers: Sequence[LayerArrays]) -> PackedArtifact:
    """Take an artifact apart.

    Args:
        files: (path, content) of every file, sorted by path.
        layers: every layer of the net at the artifact's width, in the bundle's order.

    Returns:
        Segments and template that rebuild exactly these files (proved here), and how many bytes of the net's
        constants they explain. Equal constants that the exporter stored once count once.

    Raises:
        InternalError: the result does not rebuild the files.
    """
    search = _Search([content for _, content in files], layers)
    whole = [_Constant(i, part) for i, layer in enumerate(layers) for part in _parts(layer)]
    search.look_for(whole)
    missing = [constant for constant in whole if constant not in search.found]
    pieces = [piece for constant in missing for piece in _pieces(constant, layers[constant.layer])]
    search.look_for(pieces)
    packed = search.packed(files, whole)
    _prove(packed, files, layers)
    return packed


def _parts(layer: LayerArrays) -> tuple[Part, ...]:
    return (Part.WEIGHT,) if layer.bias is None else (Part.WEIGHT, Part.BIAS)


def _pieces(constant: _Constant, layer: LayerArrays) -> list[_Constant]:
    """The groups of a grouped convolution, each a constant of its own."""
    groups = layer.cut.groups
    rows = layer.cut.out_channels // groups
    if not 1 < groups <= _MAX_SPLIT or rows == 1:
        return []
    return [replace(constant, first_row=group * rows, rows=rows) for group in range(groups)]


class _Search:
    """What has been found in the joined files so far."""

    def __init__(self, contents: Sequence[bytes], layers: Sequence[LayerArrays]) -> None:
        self.layers = layers
        self.joined = b"".join(contents)
        self.starts = [sum(map(len, contents[:i])) for i in range(len(contents) + 1)]
        self.found: set[_Constant] = set()  # stored here, or equal to one that is
        self.taken: list[tuple[int, int, Segment]] = []  # (start, end, segment), ascending, never overlapping

    def look_for(self, constants: Sequence[_Constant]) -> None:
        """Scan for all of them, then search the gaps for those that were not there."""
        if constants:
            self._take(self._scan(constants))
            for constant in sorted(constants, key=lambda c: -self._oihw(c).size):
                if constant not in self.found:
                    self._take(self._search_gaps(constant))

    def _oihw(self, constant: _Constant) -> Float32:
        """The constant's numbers in float32, shape (O, I, H, W)."""
        return segment_values(_segment(constant, Layout.OIHW, Rule.F32, 0), self.layers[constant.layer])

    def _content(self, segment: Segment) -> bytes:
        return segment_values(segment, self.layers[segment.layer]).tobytes()

    # The scan

    def _scan(self, constants: Sequence[_Constant]) -> list[_Match]:
        anchors: dict[bytes, list[tuple[_Constant, Layout, Rule, int]]] = defaultdict(list)
        for constant in constants:
            values = self._oihw(constant)
            for layout, rule in _forms(values):
                anchor = _anchor(values, layout, rule)
                if anchor is not None:
                    anchors[anchor[0]].append((constant, layout, rule, anchor[1]))
        matches = []
        for position in self._positions(list(anchors)):
            for constant, layout, rule, at in anchors[self.joined[position : position + _ANCHOR_BYTES]]:
                match = self._match(constant, layout, rule, position - at)
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

    def _match(self, constant: _Constant, layout: Layout, rule: Rule, offset: int) -> _Match | None:
        segment = _segment(constant, layout, rule, offset)
        content = self._content(segment)
        if offset < 0 or self.joined[offset : offset + len(content)] != content:
            return None
        file = bisect_left(self.starts, offset + 1) - 1
        if offset + len(content) > self.starts[file + 1]:
            return None
        return _Match(constant, segment, len(content))

    # The gaps

    def _search_gaps(self, constant: _Constant) -> list[_Match]:
        """The first place outside everything taken where ``constant`` stands, in its likeliest form."""
        values = self._oihw(constant)
        used = [segment.rule for _, _, segment in self.taken]
        for layout, rule in sorted(_forms(values), key=lambda form: -used.count(form[1])):
            content = self._content(_segment(constant, layout, rule, 0))
            if len(content) < _MIN_BYTES:
                continue
            for start, end in self._gaps():
                offset = self.joined.find(content, start, end)
                if offset >= 0:
                    return [_Match(constant, _segment(constant, layout, rule, offset), len(content))]
        return []

    def _gaps(self) -> list[tuple[int, int]]:
        """Stretches of the joined files, none across two files, that no segment covers."""
        edges = sorted([(s, e) for s, e, _ in self.taken] + [(start, start) for start in self.starts])
        gaps = [(end, begin) for (_, end), (begin, _) in itertools.pairwise(edges)]
        return [(start, end) for start, end in gaps if end - start >= _MIN_BYTES]

    # What is kept

    def _take(self, matches: Sequence[_Match]) -> None:
        """Keep matches that overlap nothing: large ones first, then low offsets, then constants not used yet."""
        places: dict[tuple[int, int], list[_Match]] = defaultdict(list)
        for match in matches:
            places[-match.size, match.segment.offset].append(match)
        used: set[_Constant] = set()
        for (negative_size, offset), here in sorted(places.items(), key=lambda item: item[0]):
            self.found.update(match.constant for match in here)
            if self._free(offset, offset - negative_size):
                best = min(here, key=lambda m: (m.constant in used, _order(m.segment)))
                used.add(best.constant)
                insort(self.taken, (offset, offset + best.size, best.segment), key=lambda t: t[0])

    def _free(self, start: int, end: int) -> bool:
        index = bisect_left(self.taken, start, key=lambda t: t[0])
        clear_before = index == 0 or self.taken[index - 1][1] <= start
        return clear_before and (index == len(self.taken) or self.taken[index][0] >= end)

    def packed(self, files: Sequence[tuple[str, bytes]], whole: Sequence[_Constant]) -> PackedArtifact:
        """The result. Constants that stand nowhere count as literal, in the commonest item size."""
        template, position = [], 0
        for start, end, _ in self.taken:
            template.append(self.joined[position:start])
            position = end
        template.append(self.joined[position:])
        items = [segment.rule.item_bytes for _, _, segment in self.taken] or [4]
        item_bytes = max(set(items), key=items.count)
        literal = sum(self._missing_values(constant) for constant in whole) * item_bytes
        return PackedArtifact(
            files=tuple(
                FileEntry(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
                for path, content in files
            ),
            segments=tuple(segment for _, _, segment in self.taken),
            template=b"".join(template),
            explained_bytes=sum(end - start for start, end, _ in self.taken),
            literal_bytes=literal,
        )

    def _missing_values(self, constant: _Constant) -> int:
        """Numbers of ``constant`` that may stand in the template. Zeros that stand nowhere were left out (a bias)."""
        if constant in self.found:
            return 0
        pieces = _pieces(constant, self.layers[constant.layer]) or [constant]
        missing = [self._oihw(piece) for piece in pieces if piece not in self.found]
        return sum(values.size for values in missing if values.any())


def _segment(constant: _Constant, layout: Layout, rule: Rule, offset: int) -> Segment:
    return Segment(
        offset=offset,
        layer=constant.layer,
        part=constant.part,
        layout=layout,
        rule=rule,
        first_row=constant.first_row,
        rows=constant.rows,
    )


def _order(segment: Segment) -> tuple[int, ...]:
    return segment.layer, segment.part, segment.first_row, segment.rule, segment.layout


def _forms(values: Float32) -> list[tuple[Layout, Rule]]:
    """The layouts and rules that give different bytes; the plainest of equal ones."""
    layouts: dict[tuple[int, ...], Layout] = {}
    for layout in Layout:
        layouts.setdefault(tuple(axis for axis in layout.axes if values.shape[axis] > 1), layout)
    rules = [Rule.F32, Rule.F16]
    if values.size < COREML_SMALL and not np.array_equal(
        cast(values, Rule.F16).view(np.uint16), cast(values, Rule.F16_COREML).view(np.uint16)
    ):
        rules.append(Rule.F16_COREML)
    return [(layout, rule) for rule in rules for layout in layouts.values()]


def _anchor(values: Float32, layout: Layout, rule: Rule) -> tuple[bytes, int] | None:
    """8 bytes of the constant as stored and their offset, from a place with different numbers, none 0.

    None where the constant is shorter, or no such place is found: such constants are searched in the gaps.
    """
    per_anchor = _ANCHOR_BYTES // rule.item_bytes
    count = values.size // per_anchor
    stored = values.transpose(layout.axes)
    tries = sorted({i * count // _ANCHOR_TRIES for i in range(_ANCHOR_TRIES)}) if count else []
    for place in tries:
        first = place * per_anchor
        index = np.unravel_index(np.arange(first, first + per_anchor), stored.shape)
        numbers = cast(stored[index], rule)
        if np.all(numbers != 0) and len(set(numbers.tolist())) == per_anchor:
            return numbers.tobytes(), first * rule.item_bytes
    return None


def _hash(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Fibonacci hashing of 4-byte words to table indices."""
    return (words * np.uint32(2_654_435_769)) >> np.uint32(32 - _TABLE_BITS)


def _prove(packed: PackedArtifact, files: Sequence[tuple[str, bytes]], layers: Sequence[LayerArrays]) -> None:
    """Rebuild from the parts and compare, so that a fault in the search can never reach a bundle."""
    streams = [io.BytesIO() for _ in files]
    waiting = iter(streams)
    template = TemplateReader(deflated_template(packed.template, None), len(packed.template), "the template")
    write_files(packed.files, packed.segments, layers, template, lambda _: nullcontext(next(waiting)))
    for (path, content), stream in zip(files, streams, strict=True):
        if stream.getbuffer() != content:
            raise InternalError(f"{path} could not be rebuilt from its recipe")
