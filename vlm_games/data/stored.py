"""Records that are too many to hold: their lines, read when they are asked for.

    shards, whichever file system    unnamed file of this machine
    shard_00000.jsonl  -- once -->   line 0 | line 1 | ...  -- any, often -->
    shard_00001.jsonl

Up to SPOOLED bytes the lines are in memory, and there is no file.
"""

import array
import bisect
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

from vlm_games.data.schema import Record
from vlm_games.data.shards import read_line

Kind = TypeVar("Kind", bound=Record)
SPOOLED = 1 << 24  # bytes


class Stored(Sequence[Kind]):
    """Records of shards, in order; `repr` tells all of what they hold.

    Each is read, and checked, as often as it is asked for.
    """

    def __init__(self, kind: type[Kind]):
        self._kind = kind
        self._file = tempfile.SpooledTemporaryFile(SPOOLED)  # noqa: SIM115
        self._ends = array.array("q", [0])  # of lines, in the file
        self._paths: list[str | os.PathLike] = []
        self._firsts: list[int] = []  # records of the shards
        self._digest = hashlib.sha256()

    def add(self, path: str | os.PathLike, lines: Sequence[bytes]) -> None:
        """Takes the lines of one more shard; `path` is for messages.

        Raises:
          OSError: there is no room for them.
        """
        self._paths.append(path)
        self._firsts.append(len(self))
        content = b"\n".join([*lines, b""])
        self._digest.update(content)
        try:
            self._file.seek(self._ends[-1])
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            folder = tempfile.gettempdir()
            raise OSError(error.errno, error.strerror, folder) from error
        for line in lines:
            self._ends.append(self._ends[-1] + len(line) + 1)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, number: int) -> Kind: ...

    @overload
    def __getitem__(self, number: slice) -> list[Kind]: ...

    def __getitem__(self, number):
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        number = range(len(self))[number]  # negative ones too, or IndexError
        start, end = self._ends[number : number + 2]
        self._file.seek(start)
        line = self._file.read(end - start - 1)
        shard = bisect.bisect_right(self._firsts, number) - 1
        place = number - self._firsts[shard] + 1
        return read_line(line, self._kind, self._paths[shard], place)

    def __iter__(self) -> Iterator[Kind]:
        return (self[number] for number in range(len(self)))

    def __del__(self):
        self._file.close()

    def __repr__(self) -> str:
        return f"Stored({len(self)} records, {self._digest.hexdigest()})"
