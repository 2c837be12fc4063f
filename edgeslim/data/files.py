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
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from edgeslim.errors import DataError
from edgeslim.host.decoding import SUFFIXES

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
        self._archive = None if root.is_dir() else zipfile.ZipFile(root)

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            DataError: the file went away or the archive is damaged.
        """
        try:
            return (self._root / name).read_bytes() if self._archive is None else self._archive.read(name)
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise DataError(f"cannot read {name} of {self._root}: {error}") from error


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
    try:
        with zipfile.ZipFile(root) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{root} is neither a folder nor a zip archive: {error}", hint=LAYOUT_HINT) from error
