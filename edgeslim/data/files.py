"""Image files sorted into class folders, in a directory or in a zip archive.

    root/train/<class>/*.jpg|png|webp|…          split "train", also "calib" where there is no calib folder
    root/test/<class>/…   or   root/val/<class>/…     split "test"

Both kinds give the same entries in the same order (class name, then file name), so the same subset, the same
hash and the same calibration.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from edgeslim.errors import DataError
from edgeslim.files import open_file, read_file
from edgeslim.host.decoding import MAX_BYTES, SUFFIXES

FOLDERS_OF_SPLIT = {"train": ("train",), "calib": ("calib", "train"), "test": ("test", "val")}
LAYOUT_HINT = "expected train/<class>/*.jpg and test/<class>/*.jpg (or val/), in a folder or a .zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFiles:
    """Encoded images: ``names[i]`` (relative, with ``/``) belongs to class ``labels[i]`` of ``classes``."""

    root: Path
    names: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def select(self, positions: list[int]) -> ImageFiles:
        """Only these images, in this order."""
        return replace(
            self, names=tuple(self.names[i] for i in positions), labels=tuple(self.labels[i] for i in positions)
        )

    def reader(self) -> FileReader:
        """Something that reads the bytes of one name; one per process (a zip handle must not be shared)."""
        return FileReader(self.root)

    def sha256(self) -> str:
        """Hash over every file's bytes and class, in order; independent of how the files are decoded."""
        total = hashlib.sha256("\0".join(self.classes).encode())
        reader = self.reader()
        for name, label in zip(self.names, self.labels, strict=True):
            total.update(hashlib.sha256(reader.read(name)).digest() + label.to_bytes(4, "little"))
        return total.hexdigest()


class FileReader:
    """Reads encoded bytes from a directory or an archive."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._archive = None if root.is_dir() else _archive(root)

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            DataError: the file went away or is too large, or the archive is damaged.
        """
        if self._archive is None:
            try:
                return read_file(self._root / name, most_bytes=MAX_BYTES)
            except OSError as error:
                raise DataError(f"cannot read {name} of {self._root}: {error.strerror}") from error
        try:
            with self._archive.open(name) as member:
                data = member.read(MAX_BYTES + 1)  # whatever size its header tells
        except _DAMAGE as error:
            raise DataError(f"cannot read {name} of {self._root}: {error}") from error
        if len(data) > MAX_BYTES:
            raise DataError(f"{name} of {self._root} has more than {MAX_BYTES:,} bytes")
        return data


_DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, RuntimeError, NotImplementedError)
"""What zipfile answers to archives that are damaged, encrypted or packed in ways it does not know."""


def _archive(root: Path) -> zipfile.ZipFile:
    """Raises ``DataError``: it is no zip archive, or no file at all."""
    try:
        os.close(open_file(root))
        return zipfile.ZipFile(root)
    except _DAMAGE as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{root} is neither a folder nor a zip archive: {reason}", hint=LAYOUT_HINT) from error


def index_files(root: Path, split: str) -> ImageFiles:
    """Find the images of ``split`` below ``root`` (a directory or a zip).

    Raises:
        DataError: nothing there, not a zip, no folder for the split, or no images in it.
    """
    if not root.exists():
        raise DataError(f"no such folder or archive: {root}", hint=LAYOUT_HINT)
    paths = _names_in_directory(root, split) if root.is_dir() else _names_in_archive(root)
    by_folder: dict[str, list[tuple[str, str]]] = {}
    for path in paths:
        parts = PurePosixPath(path).parts
        if len(parts) == 3 and path.lower().endswith(SUFFIXES):
            by_folder.setdefault(parts[0], []).append((parts[1], path))
    for folder in FOLDERS_OF_SPLIT[split]:
        if by_folder.get(folder):
            found = sorted(by_folder[folder])
            classes = tuple(sorted({name for name, _ in found}))
            label_of = {name: label for label, name in enumerate(classes)}
            return ImageFiles(
                root=root,
                names=tuple(path for _, path in found),
                labels=tuple(label_of[name] for name, _ in found),
                classes=classes,
            )
    wanted = " or ".join(f"{folder}/" for folder in FOLDERS_OF_SPLIT[split])
    raise DataError(f"{root} has no images in {wanted}", hint=LAYOUT_HINT)


def _names_in_directory(root: Path, split: str) -> list[str]:
    names: list[str] = []
    for folder in FOLDERS_OF_SPLIT[split]:
        for group in sorted(path for path in (root / folder).glob("*") if path.is_dir()):
            names += [f"{folder}/{group.name}/{entry.name}" for entry in os.scandir(group) if entry.is_file()]
    return names


def _names_in_archive(root: Path) -> list[str]:
    with _archive(root) as archive:
        return archive.namelist()
