"""PyTorch files that nobody vouches for: what is looked at before and after ``torch.load``.

    file ─ check_file ─► torch.load(weights_only=True) ─ check_values ─► plain containers and tensors
            │                                              │
            a regular file of a known kind; every          no cycles, bounded depth and number of values; dense CPU
            member stored, whole, and with its CRC         tensors that own what they show

``weights_only`` runs no foreign code, but it does not look at checksums (flipped bits become weights), inflates
compressed members, and builds tensors of any claimed size over a few bytes (strides of 0, devices without memory).
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from edgeslim.errors import CheckpointError
from edgeslim.files import open_file

_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # torch.save before 1.6, as most published files have it
_NEVER_NEEDED = (  # torch allows them: room for any number of bytes, and tensors that are not what they hold
    b"builtins\nbytearray\n", b"__builtin__\nbytearray\n", b"\n_rebuild_sparse_tensor\n", b"\n_rebuild_qtensor\n",
    b"\n_rebuild_nested_tensor\n", b"\n_rebuild_meta_tensor_no_storage\n", b"\n_rebuild_wrapper_subclass\n",
    b"\n_rebuild_device_tensor_from_numpy\n", b"\n_rebuild_device_tensor_from_cpu_tensor\n",
)  # fmt: skip
_CHUNK_BYTES = 1 << 20
_MAX_DEPTH = 64
_MAX_VALUES = 500_000
_MAX_INT = 1 << 63
_SHARED = 4  # times that tensors may share their bytes with others (tied weights, an averaged copy)
_SMALL_BYTES = 1 << 16

NO_PYTORCH_FILE = "truncated, damaged or no PyTorch file"
COPY_AGAIN = "copy the file again and compare its size with the original's"


def check_file(path: Path) -> int:
    """Look at the bytes of a file before anything is built from it; its size.

    Raises:
        CheckpointError: no regular file, no PyTorch file, or damaged.
    """
    try:
        with os.fdopen(open_file(path), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(len(_PICKLE_MAGIC))
            if head.startswith(_ZIP_MAGIC):
                _check_zip(path, stream, size)
            elif head != _PICKLE_MAGIC:
                raise CheckpointError(
                    f"cannot read {path}: {NO_PYTORCH_FILE} (it begins with {head[:9]!r})", hint=_what_else(head)
                )
            _check_pickles(path, stream, size)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    return size


def _what_else(head: bytes) -> str:
    if head[8:9] == b"{":
        return "it looks like a bundle or another safetensors file: edgeslim inspect FILE"
    return "a checkpoint of edgeslim train, or a state dict that torch.save wrote, is expected"


def _check_zip(path: Path, stream: BinaryIO, size: int) -> None:
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            packed = next((member for member in members if member.compress_type != zipfile.ZIP_STORED), None)
            if packed is not None:
                raise CheckpointError(
                    f"{path} holds compressed data ({packed.filename[:80]}); torch.save never writes such files",
                    hint="unpack it and write it again with torch.save",
                )
            if sum(member.file_size for member in members) > size:
                raise CheckpointError(f"{path} is damaged: its members claim more bytes than it has", hint=COPY_AGAIN)
            for member in members:
                with archive.open(member) as data:
                    while data.read(_CHUNK_BYTES):
                        pass  # the end compares the CRC
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, NotImplementedError) as error:
        raise CheckpointError(f"cannot read {path}: {NO_PYTORCH_FILE} ({error})", hint=COPY_AGAIN) from error


def _check_pickles(path: Path, stream: BinaryIO, size: int) -> None:
    with mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ) as content:
        if any(content.find(name) >= 0 for name in _NEVER_NEEDED):
            raise CheckpointError(
                f"{path} holds pickled objects besides tensors that are dense and on the CPU, so it is refused",
                hint="where you trust it, write only the weights: torch.save({'model': state_dict}, 'weights.pt')",
            )


def check_values(document: Any, what: str, size_bytes: int) -> None:
    """Look at every value of what was read, once per place where it stands.

    Args:
        size_bytes: of the file; its tensors cannot hold much more than that.

    Raises:
        CheckpointError: a value that contains itself, is nested too deeply, a whole number beyond 64 bits, text that is
            no Unicode, or a tensor that is not dense, not on the CPU, or larger than what it is stored in.
    """
    left_values, left_bytes = _MAX_VALUES, _SHARED * size_bytes + _SMALL_BYTES
    open_values: list[tuple[Any, int]] = [(document, 0)]
    while open_values:
        value, depth = open_values.pop()
        left_values -= 1
        if left_values < 0 or depth > _MAX_DEPTH:
            raise CheckpointError(f"{what}: its values contain themselves, or are more than a network needs")
        if isinstance(value, Tensor):
            left_bytes -= _bytes_of(value, what)
            if left_bytes < 0:
                raise CheckpointError(f"{what}: its tensors are larger than the file, so several share their bytes")
        elif isinstance(value, str):
            if not value.isascii():
                _check_text(value, what)
        elif isinstance(value, int):
            if abs(value) >= _MAX_INT:
                raise CheckpointError(f"{what}: holds a whole number of more than 64 bits")
        else:
            open_values += [(inner, depth + 1) for inner in _inside(value)]


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return (*value.keys(), *value.values())
    return value if isinstance(value, list | tuple | set | frozenset) else ()


def _check_text(value: str, what: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"{what}: holds text that is no Unicode") from None


def _bytes_of(tensor: Tensor, what: str) -> int:
    plain = type(tensor) in (Tensor, torch.nn.Parameter) and not tensor.is_nested and not tensor.is_quantized
    if not plain or tensor.layout != torch.strided or tensor.device.type != "cpu":
        kind = f"{tensor.layout} on {tensor.device}" if plain else type(tensor).__name__
        raise CheckpointError(f"{what}: holds a tensor that is not dense in the file ({kind})")
    size = tensor.numel() * tensor.element_size()
    if size > tensor.untyped_storage().nbytes():
        raise CheckpointError(f"{what}: holds a tensor of {list(tensor.shape)} that is stored in fewer bytes")
    return size


def content_sha256(value: Any) -> str:
    """Hash of plain values and tensors, the same whether a list was read back as a tuple.

    Raises:
        CheckpointError: a dictionary has keys that are neither text nor whole numbers.
    """
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        digest.update(b"{")
        if not all(isinstance(key, str | int) for key in value):
            raise CheckpointError("a dictionary of a checkpoint has keys that are neither text nor numbers")
        for key in sorted(value, key=lambda key: (type(key).__name__, key)):
            _feed(digest, key)
            _feed(digest, value[key])
        digest.update(b"}")
    elif isinstance(value, list | tuple):
        digest.update(b"[")
        for item in value:
            _feed(digest, item)
        digest.update(b"]")
    else:
        digest.update(f"{type(value).__name__} {value!r}\n".encode())
