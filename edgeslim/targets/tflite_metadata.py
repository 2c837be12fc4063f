"""The standard metadata of a ``.tflite``: what tflite-support's displayer, codegen and the task libraries read.

Two parts, both defined by the published metadata schema (version 1.1.0, identifier ``M001``):

    model flatbuffer ── Model.metadata["TFLITE_METADATA"] → Buffer → ModelMetadata flatbuffer
    zip appended     ── edgeslim_labels.txt, edgeslim_meta.json     ("associated files", stored, not compressed)

tflite-support is dead and cannot live beside today's exporters, so both are written here by hand. The exporter's own
bytes are kept as they are: new objects go in front of them, as a block whose length is a multiple of 64 bytes, because
flatbuffer references point forwards and weights must keep their alignment. Only the root reference changes.

    old:  root│TFL3│ old objects …
    new:  root│TFL3│ Model' buffers' metadata' Metadata Buffer data │ old objects …
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence

import flatbuffers
from flatbuffers import number_types

from edgeslim.core.manifest import TensorInfo
from edgeslim.errors import ExportError
from edgeslim.targets.base import INPUT_NAME, LABELS_NAME, METADATA_NAME, OUTPUT_NAME, Metadata

ENTRY_NAME = "TFLITE_METADATA"
_RUNTIME_ENTRY = b"min_runtime_version"  # written by the converter
LABELS_FILE = f"{LABELS_NAME}.txt"
METADATA_FILE = f"{METADATA_NAME}.json"
_MODEL_IDENTIFIER = b"TFL3"
_METADATA_IDENTIFIER = b"M001"
_BLOCK = 64  # bytes; keeps every alignment of the old objects
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)

# Field numbers of table Model in the TFLite schema (version 3).
_MODEL_FIELDS = 8
_VERSION, _SUBGRAPHS, _BUFFERS, _METADATA, _SIGNATURES = 0, 2, 4, 6, 7
_INPUTS, _OUTPUTS = 0, 1  # field numbers of table SignatureDef; one more in table SubGraph
_DATA_ALIGNMENT = 16  # of Buffer.data, by the schema

# Field numbers, unions and enums of the metadata schema.
_FILE_DESCRIPTIONS, _FILE_AXIS_LABELS = 1, 2  # enum AssociatedFileType
_FEATURE, _IMAGE = 1, 2  # union ContentProperties
_NORMALISATION, _SCORE_THRESHOLDING = 1, 3  # union ProcessUnitOptions
# Google's ImageClassifier drops every class whose score lies below a threshold, which is 0 where the file names none:
# logits would lose their negative ones. The least float32 keeps them all; an app may still set a threshold of its own.
_LEAST_SCORE = -3.4028234663852886e38
_RGB, _GRAYSCALE = 1, 2  # enum ColorSpaceType
_PARSER_VERSION = "1.0.0"  # every field used here has been there since


def add_metadata(
    model: bytes, metadata: Metadata, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
) -> bytes:
    """The same model with the standard metadata and its associated files.

    Raises:
        ExportError: ``model`` is not a flatbuffer as the TFLite schema lays it out, or its signature has other names.
    """
    inputs = _in_file_order(model, _INPUTS, inputs)
    outputs = _in_file_order(model, _OUTPUTS, outputs)
    entry = build_metadata(metadata, inputs, outputs)
    return _append_files(_insert_entry(model, entry), metadata, metadata.to_text(inputs, outputs))


def _in_file_order(model: bytes, way: int, tensors: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
    """``tensors`` as the subgraph lists its inputs or outputs; the signature knows their names."""
    fields = _model_fields(model)
    (subgraph, *_), (signature, *_) = _vector(model, fields.get(_SUBGRAPHS)), _vector(model, fields.get(_SIGNATURES))
    position = _field(model, subgraph, 1 + way)
    vector = 0 if position is None else position + _u32(model, position)
    indices = struct.unpack_from(f"<{_u32(model, vector)}i", model, vector + 4)
    names = {}
    for entry in _vector(model, _field(model, signature, way)):  # tables TensorMap: name, index
        place = _field(model, entry, 1)
        names[_u32(model, place) if place else 0] = _content(model, entry, 0).decode()
    by_name = {tensor.name: tensor for tensor in tensors}
    found = [names.get(index, "") for index in indices]
    if sorted(found) != sorted(by_name):
        raise ExportError(f"the TFLite model names its tensors {', '.join(found)}, expected {', '.join(by_name)}")
    return tuple(by_name[name] for name in found)


def minimum_runtime(model: bytes) -> str:
    """The least TensorFlow Lite version that runs ``model``, as the converter noted it; "" if it did not."""
    fields = _model_fields(model)
    buffers = _vector(model, fields.get(_BUFFERS))
    for entry in _vector(model, fields.get(_METADATA)):
        if _content(model, entry, 0) == _RUNTIME_ENTRY:
            number = _field(model, entry, 1)
            buffer = buffers[_u32(model, number) if number else 0]
            return _content(model, buffer, 0).rstrip(b"\0").decode()
    return ""


def _append_files(model: bytes, metadata: Metadata, text: str) -> bytes:
    stream = io.BytesIO(model)
    files = {METADATA_FILE: text}
    if metadata.labels:
        files[LABELS_FILE] = metadata.labels_text()
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in sorted(files.items()):
            info = zipfile.ZipInfo(name, date_time=_ZIP_TIME)
            info.create_system, info.external_attr = 3, 0o644 << 16  # the same on every system
            archive.writestr(info, text)
    return stream.getvalue()


class _Writer:
    """Tables of the metadata schema; every method returns the offset of what it wrote."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)

    def text(self, text: str) -> int:
        return int(self.builder.CreateString(text))

    def offsets(self, items: Sequence[int]) -> int:
        self.builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            self.builder.PrependUOffsetTRelative(item)
        return int(self.builder.EndVector())

    def floats(self, values: Sequence[float]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        return int(self.builder.EndVector())

    def table(self, fields: int, offsets: dict[int, int], scalars: dict[int, tuple[type, float]] | None = None) -> int:
        """A table of ``fields`` slots: slot → offset, slot → (flatbuffers number type, value)."""
        self.builder.StartObject(fields)
        for slot, offset in offsets.items():
            self.builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, (flags, value) in (scalars or {}).items():
            self.builder.PrependSlot(flags, slot, value, 0)
        return int(self.builder.EndObject())

    def file(self, name: str, description: str, kind: int) -> int:
        offsets = {0: self.text(name), 1: self.text(description)}
        return self.table(4, offsets, {2: (number_types.Int8Flags, kind)})

    def content(self, kind: int, properties: int) -> int:
        return self.table(3, {1: properties}, {0: (number_types.Uint8Flags, kind)})

    def image_properties(self, width: int, height: int, channels: int) -> int:
        size = self.table(2, {}, {0: (number_types.Uint32Flags, width), 1: (number_types.Uint32Flags, height)})
        colour = {1: _GRAYSCALE, 3: _RGB}.get(channels, 0)
        return self.table(2, {1: size}, {0: (number_types.Int8Flags, colour)})

    def normalisation(self, mean: Sequence[float], std: Sequence[float]) -> int:
        options = self.table(2, {0: self.floats(mean), 1: self.floats(std)})
        return self.table(2, {1: options}, {0: (number_types.Uint8Flags, _NORMALISATION)})

    def score_threshold(self, least: float) -> int:
        options = self.table(1, {}, {0: (number_types.Float32Flags, least)})
        return self.table(2, {1: options}, {0: (number_types.Uint8Flags, _SCORE_THRESHOLDING)})


def build_metadata(metadata: Metadata, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> bytes:
    """The ModelMetadata flatbuffer; ``inputs`` and ``outputs`` in the model's own order."""
    writer = _Writer()
    files = [writer.file(METADATA_FILE, "edgeslim's own description of this model, JSON", _FILE_DESCRIPTIONS)]
    subgraph = writer.table(
        7,
        {
            2: writer.offsets([_input(writer, metadata, spec) for spec in inputs]),
            3: writer.offsets([_output(writer, metadata, spec) for spec in outputs]),
        },
    )
    name = f"{metadata.model} {metadata.label}"
    root = writer.table(
        8,
        {
            0: writer.text(name),
            1: writer.text(metadata.description),
            2: writer.text(metadata.version),
            3: writer.offsets([subgraph]),
            4: writer.text(metadata.author),
            5: writer.text(metadata.licence),
            6: writer.offsets(files),
            7: writer.text(_PARSER_VERSION),
        },
    )
    writer.builder.Finish(root, file_identifier=_METADATA_IDENTIFIER)
    return bytes(writer.builder.Output())


def _input(writer: _Writer, metadata: Metadata, spec: TensorInfo) -> int:
    """One input; an image with its normalisation in the schema's units: ``(x - mean) / std`` of pixels in [0, 255]."""
    if spec.name != INPUT_NAME:
        return writer.table(7, _plain(writer, spec, metadata.input_words(spec)))
    sizes = dict(zip(spec.layout, spec.shape, strict=True))
    pixels = spec.dtype == "uint8"
    channels = sizes["C"]
    low = [0.0 if pixels else (0 - m) / s for m, s in zip(metadata.mean, metadata.std, strict=True)]
    high = [255.0 if pixels else (1 - m) / s for m, s in zip(metadata.mean, metadata.std, strict=True)]
    offsets = {
        **_plain(writer, spec, metadata.input_words(spec)),
        3: writer.content(_IMAGE, writer.image_properties(sizes["W"], sizes["H"], channels)),
        5: writer.table(2, {0: writer.floats(high), 1: writer.floats(low)}),
    }
    if not pixels:  # a uint8 input normalises inside the graph
        mean, std = [255 * m for m in metadata.mean], [255 * s for s in metadata.std]
        offsets[4] = writer.offsets([writer.normalisation(mean, std)])
    return writer.table(7, offsets)


_DIMENSIONS = {"N": "batch", "C": "channel", "D": "depth", "H": "height", "W": "width", "L": "token"}


def _plain(writer: _Writer, spec: TensorInfo, words: str) -> dict[int, int]:
    """Name, description, names of the dimensions, and content: a plain feature."""
    return {
        0: writer.text(spec.name),
        1: writer.text(words),
        2: writer.offsets([writer.text(_DIMENSIONS[letter]) for letter in spec.layout]),
        3: writer.content(_FEATURE, writer.table(0, {})),
    }


def _output(writer: _Writer, metadata: Metadata, spec: TensorInfo) -> int:
    if spec.name != OUTPUT_NAME:
        return writer.table(7, _plain(writer, spec, metadata.output_words(spec)))
    offsets = {
        **_plain(writer, spec, metadata.output_words(spec)),
        2: writer.offsets([writer.text("batch"), writer.text("class")]),
        4: writer.offsets([writer.score_threshold(_LEAST_SCORE)]),
    }
    if metadata.labels:
        offsets[6] = writer.offsets([writer.file(LABELS_FILE, "class labels, one per line", _FILE_AXIS_LABELS)])
    return writer.table(7, offsets)


def _u32(data: bytes, position: int) -> int:
    return int(struct.unpack_from("<I", data, position)[0])


def _field(model: bytes, table: int, number: int) -> int | None:
    """Position of a field in the table at ``table``; None where it is left out."""
    vtable = table - struct.unpack_from("<i", model, table)[0]
    (size,) = struct.unpack_from("<H", model, vtable)
    if 4 + 2 * number >= size:
        return None
    (slot,) = struct.unpack_from("<H", model, vtable + 4 + 2 * number)
    return table + slot if slot else None


def _content(model: bytes, table: int, number: int) -> bytes:
    """The bytes of a string or byte vector that is a field of the table at ``table``."""
    position = _field(model, table, number)
    if position is None:
        return b""
    vector = position + _u32(model, position)
    return model[vector + 4 : vector + 4 + _u32(model, vector)]


def _model_fields(model: bytes) -> dict[int, int]:
    """Field number → position in the root table, for the fields that are there."""
    if model[4:8] != _MODEL_IDENTIFIER:
        raise ExportError("not a TFLite model: no TFL3 at byte 4")
    table = _u32(model, 0)
    (size,) = struct.unpack_from("<H", model, table - struct.unpack_from("<i", model, table)[0])
    found = {number: _field(model, table, number) for number in range((size - 4) // 2)}
    fields = {number: position for number, position in found.items() if position is not None}
    if any(number >= _MODEL_FIELDS for number in fields):
        raise ExportError("the TFLite model has fields that version 3 of its schema does not have")
    return fields


def _vector(model: bytes, position: int | None) -> list[int]:
    """Positions of the objects in the vector of references that is referred to at ``position``."""
    if position is None:
        return []
    vector = position + _u32(model, position)
    places = range(vector + 4, vector + 4 + 4 * _u32(model, vector), 4)
    return [place + _u32(model, place) for place in places]


class _Block:
    """New objects in front of the old ones; references to old objects wait until the block's length is known."""

    def __init__(self) -> None:
        self.data = bytearray(8)  # root reference and identifier
        self._to_old: list[tuple[int, int]] = []

    def add(self, data: bytes, *, align: int = 4) -> int:
        """Append ``data``; returns its position."""
        self.data.extend(bytes(-len(self.data) % align))
        self.data.extend(data)
        return len(self.data) - len(data)

    def add_table(self, fields: Sequence[bool]) -> int:
        """Append a table of 4-byte fields, zero, with its vtable; returns the table's position."""
        slots = [4 + 4 * number if present else 0 for number, present in enumerate(fields)]
        size = 4 + 4 * len(fields)
        vtable = self.add(struct.pack(f"<HH{len(slots)}H", 4 + 2 * len(slots), size, *slots))
        table = self.add(bytes(size))
        struct.pack_into("<i", self.data, table, table - vtable)
        return table

    def add_vector(self, count: int) -> int:
        """Append a vector of ``count`` empty references; returns the position of its length."""
        return self.add(struct.pack("<I", count) + bytes(4 * count))

    def refer(self, place: int, target: int) -> None:
        struct.pack_into("<I", self.data, place, target - place)

    def refer_to_old(self, place: int, target: int) -> None:
        self._to_old.append((place, target))

    def before(self, model: bytes) -> bytes:
        """The block, then everything of ``model`` after its first 8 bytes."""
        self.data.extend(bytes(-(len(self.data) - 8) % _BLOCK))
        shift = len(self.data) - 8
        for place, target in self._to_old:
            self.refer(place, target + shift)
        return bytes(self.data) + model[8:]


def _insert_entry(model: bytes, payload: bytes) -> bytes:
    """``model`` with one more Metadata entry, ``TFLITE_METADATA`` → a new Buffer with ``payload``."""
    old = _model_fields(model)
    buffers, entries = _vector(model, old.get(_BUFFERS)), _vector(model, old.get(_METADATA))
    block = _Block()
    root = block.add_table([number in old or number == _METADATA for number in range(_MODEL_FIELDS)])
    struct.pack_into("<I4s", block.data, 0, root, _MODEL_IDENTIFIER)
    new_buffers, new_entries = block.add_vector(len(buffers) + 1), block.add_vector(len(entries) + 1)
    entry = block.add_table([True, True])  # name, index of the buffer
    name = block.add(struct.pack("<I", len(ENTRY_NAME)) + ENTRY_NAME.encode() + b"\0")
    buffer = block.add_table([True])  # data
    block.add(b"", align=_DATA_ALIGNMENT)
    data = block.add(bytes(_DATA_ALIGNMENT - 4) + struct.pack("<I", len(payload)) + payload) + _DATA_ALIGNMENT - 4

    for number, position in old.items():
        place = root + 4 + 4 * number
        if number == _VERSION:
            struct.pack_into("<I", block.data, place, _u32(model, position))
        elif number not in (_BUFFERS, _METADATA):
            block.refer_to_old(place, position + _u32(model, position))
    for field, vector, olds, new in (
        (_BUFFERS, new_buffers, buffers, buffer),
        (_METADATA, new_entries, entries, entry),
    ):
        block.refer(root + 4 + 4 * field, vector)
        places = range(vector + 4, vector + 4 + 4 * (len(olds) + 1), 4)
        for place, position in zip(places, olds, strict=False):
            block.refer_to_old(place, position)
        block.refer(places[-1], new)
    block.refer(entry + 4, name)
    struct.pack_into("<I", block.data, entry + 8, len(buffers))
    block.refer(buffer + 4, data)
    return block.before(model)
