"""An independent reader of flatbuffers, so that what is written by hand is not read back by the same hand.

Written from the flatbuffers internals page: a table starts with the distance back to its vtable; the vtable holds, per
field number, the field's distance from the table's start (0: absent); references are unsigned distances forward.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator


class Table:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.vtable = at - struct.unpack_from("<i", data, at)[0]

    @classmethod
    def root(cls, data: bytes) -> Table:
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _field(self, number: int) -> int | None:
        (size,) = struct.unpack_from("<H", self.data, self.vtable)
        if 4 + 2 * number >= size:
            return None
        (distance,) = struct.unpack_from("<H", self.data, self.vtable + 4 + 2 * number)
        return self.at + distance if distance else None

    def _follow(self, number: int) -> int:
        place = self._field(number)
        assert place is not None, f"no field {number}"
        return place + int(struct.unpack_from("<I", self.data, place)[0])

    def has(self, number: int) -> bool:
        return self._field(number) is not None

    def number(self, number: int, code: str) -> int:
        place = self._field(number)
        return 0 if place is None else struct.unpack_from(f"<{code}", self.data, place)[0]

    def table(self, number: int) -> Table:
        return Table(self.data, self._follow(number))

    def tables(self, number: int) -> list[Table]:
        return [Table(self.data, at) for at in self._references(number)]

    def text(self, number: int) -> str:
        return self._text_at(self._follow(number))

    def texts(self, number: int) -> list[str]:
        return [self._text_at(at) for at in self._references(number)]

    def floats(self, number: int) -> list[float]:
        at = self._follow(number)
        (count,) = struct.unpack_from("<I", self.data, at)
        return list(struct.unpack_from(f"<{count}f", self.data, at + 4))

    def blob(self, number: int) -> tuple[int, bytes]:
        """(position, content) of a byte vector."""
        at = self._follow(number)
        (count,) = struct.unpack_from("<I", self.data, at)
        return at + 4, self.data[at + 4 : at + 4 + count]

    def _references(self, number: int) -> Iterator[int]:
        at = self._follow(number)
        (count,) = struct.unpack_from("<I", self.data, at)
        for place in range(at + 4, at + 4 + 4 * count, 4):
            yield place + struct.unpack_from("<I", self.data, place)[0]

    def _text_at(self, at: int) -> str:
        (count,) = struct.unpack_from("<I", self.data, at)
        assert self.data[at + 4 + count] == 0
        return self.data[at + 4 : at + 4 + count].decode()
