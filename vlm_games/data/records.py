"""A played game as it lies on disk: one JSON object per line of a shard.

A shard `shard_00000.jsonl` is plain JSON lines, for jq or pandas as well as
for `read_shard`. Beside it lies `shard_00000.jsonl.sha256`, in the format of
`sha256sum -c`: without it, a shard cut off between two lines would look whole.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from vlm_games.data import atomic, schema
from vlm_games.data.schema import RecordError

OUTCOMES = ("success", "lose", "aborted")


class TornShardError(ValueError):
    """A shard that is not whole: cut short, altered or half copied."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """One question and its answer.

    Attributes:
      question: what the Guesser asked.
      answer: what the Describer, who sees the target alone, replied.
      summary: the Guesser's summary of the dialog after this turn.
      question_logprob: log-probability of the question under the Guesser,
        summed over its tokens (nats).
      answer_logprob: the same for the answer under the Describer.
      belief: probability of each image of being the target after this turn,
        one per image; None where the guess uses none.
      credit: how much better the answer fits the target than the average
        image of the game (nats); None where nothing was compared.
      true: whether the answer is true of the target; None where nobody knows.
    """

    question: str
    answer: str
    summary: str
    question_logprob: float
    answer_logprob: float
    belief: tuple[float, ...] | None
    credit: float | None
    true: bool | None


@dataclasses.dataclass(frozen=True)
class GameRecord:
    """One game from the first question to the filters' verdict.

    Attributes:
      game: number of the game within its iteration.
      iteration: round of self-improvement, 0 for the base.
      seed: seed the game was drawn with.
      images: indices into the image source, in the Guesser's order.
      names: the source's names of these images.
      target: position of the target in `images`.
      turns: in the order they were played.
      final_summary: the Guesser's summary before the guess.
      guess: position guessed, None where no guess could be read.
      belief: probability of each image at the end, one per image.
      outcome: one of OUTCOMES.
      reason: why the game was aborted; None for the others.
      filters: name of each filter -> whether the game passed it.
      kept: whether the game becomes training data.
    """

    game: int
    iteration: int
    seed: int
    images: tuple[int, ...]
    names: tuple[str, ...]
    target: int
    turns: tuple[Turn, ...]
    final_summary: str
    guess: int | None
    belief: tuple[float, ...]
    outcome: str
    reason: str | None
    filters: Mapping[str, bool]
    kept: bool

    def to_json(self) -> str:
        """One line without its end; checked as strictly as when read.

        Raises:
          RecordError: a value is wrong, or NumPy's instead of Python's (call
            `.item()` or `.tolist()` on it).
        """
        fields = dataclasses.asdict(self)
        _check(fields, f"game {self.game}, to be written")
        # Escaping also keeps file names that are not UTF-8 intact.
        return json.dumps(fields, ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, line: str, place: str = "game record") -> "GameRecord":
        """Reads one line; `place` (file and line) opens every message.

        Raises:
          RecordError: naming `place` and the field.
        """
        return cls(**_check(schema.parse(line, place), place))


def write_shard(path: str | os.PathLike, records: Iterable[GameRecord]) -> None:
    """Writes records to `path`, all of them or none.

    The checksum goes first: a crash between the two leaves a checksum without
    a shard, which `list_shards` does not list.

    Raises:
      RecordError: a record is not sound; nothing is written.
      OSError: the disk refused.
    """
    path = _local(path)
    lines = [record.to_json() + "\n" for record in records]
    content = "".join(lines).encode("ascii")
    path.parent.mkdir(parents=True, exist_ok=True)
    checksum = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    atomic.write_bytes(_checksum_path(path), checksum.encode())
    atomic.write_bytes(path, content)


def read_shard(path: str | os.PathLike) -> list[GameRecord]:
    """Reads all records of a shard.

    Raises:
      FileNotFoundError: there is no such shard.
      TornShardError: the shard is not what was written.
      RecordError: a line breaks the schema, named by file, line and field.
    """
    path = _local(path)
    content = path.read_bytes()
    _check_whole(path, content)
    if not content:
        return []
    # Not splitlines(), which also cuts at characters that text may hold.
    lines = content.decode("utf-8").removesuffix("\n").split("\n")
    return [
        GameRecord.from_json(line, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
    ]


def list_shards(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Paths of the finished shards in `folder`, sorted; [] without a folder.

    Whether each is whole shows when it is read.
    """
    return sorted(_local(folder).glob("shard_*.jsonl"))


def _check_whole(path: pathlib.Path, content: bytes) -> None:
    advice = "Delete it to have its games played again."
    try:
        expected = _checksum_path(path).read_text(encoding="utf-8").split()[:1]
    except FileNotFoundError as error:
        raise TornShardError(
            f"{path}: no checksum {path.name}.sha256 beside it, so it may be "
            f"cut short. {advice}"
        ) from error
    if expected != [hashlib.sha256(content).hexdigest()]:
        raise TornShardError(
            f"{path}: its {len(content)} bytes are not those that were "
            f"written (SHA-256 differs from {path.name}.sha256). {advice}"
        )


def _checksum_path(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + ".sha256")


def _local(path: str | os.PathLike) -> pathlib.Path:
    # pathlib would quietly make a local folder called "gs:".
    if "://" in os.fspath(path):
        raise ValueError(
            f"{path}: shards are written to a file system; mount the bucket "
            "(gcsfuse) and give the mounted path."
        )
    return pathlib.Path(path)


def _check(found: Any, place: str) -> dict[str, Any]:
    """Fields of a sound game; each by itself, then those that must agree."""
    fields = schema.read_fields(found, _GAME_CHECKS, place)
    count = len(fields["images"])
    _expect_length(fields["names"], count, place, "names")
    _expect_length(fields["belief"], count, place, "belief")
    turns = []
    for i, turn in enumerate(fields["turns"]):
        prefix = f"turns[{i}]."
        turn = schema.read_fields(turn, _TURN_CHECKS, place, prefix)
        if turn["belief"] is not None:
            _expect_length(turn["belief"], count, place, prefix + "belief")
        turns.append(Turn(**turn))
    for name in ("target", "guess"):
        position = fields[name]
        if position is not None and position >= count:
            raise RecordError(
                f"{place}, field {name}: {position} is no position among "
                f"{count} images"
            )
    _check_outcome(fields, place)
    return {**fields, "turns": tuple(turns)}


def _check_outcome(fields: Mapping[str, Any], place: str) -> None:
    outcome, guess, target = (fields[k] for k in ("outcome", "guess", "target"))
    if outcome != "aborted" and (outcome == "success") != (guess == target):
        raise RecordError(
            f"{place}, field outcome: {outcome!r} with guess {guess} and "
            f"target {target}"
        )
    if (outcome == "aborted") != (fields["reason"] is not None):
        raise RecordError(
            f"{place}, field reason: {schema.show(fields['reason'])} with "
            f"outcome {outcome!r}; aborted games give a reason, others null"
        )


def _expect_length(value: tuple, count: int, place: str, name: str) -> None:
    if len(value) != count:
        raise RecordError(
            f"{place}, field {name}: expected one item for each of the "
            f"{count} images, found {len(value)}"
        )


_TURN_CHECKS = {
    "question": schema.is_text,
    "answer": schema.is_text,
    "summary": schema.is_text,
    "question_logprob": schema.is_number,
    "answer_logprob": schema.is_number,
    "belief": schema.optional(schema.list_of(schema.is_number)),
    "credit": schema.optional(schema.is_number),
    "true": schema.optional(schema.is_bool),
}

_GAME_CHECKS = {
    "game": schema.is_count,
    "iteration": schema.is_count,
    "seed": schema.is_count,
    "images": schema.list_of(schema.is_count),
    "names": schema.list_of(schema.is_text),
    "target": schema.is_count,
    "turns": schema.list_of(lambda turn, place: turn),  # by _TURN_CHECKS
    "final_summary": schema.is_text,
    "guess": schema.optional(schema.is_count),
    "belief": schema.list_of(schema.is_number),
    "outcome": schema.one_of(*OUTCOMES),
    "reason": schema.optional(schema.is_text),
    "filters": schema.table_of(schema.is_bool),
    "kept": schema.is_bool,
}
