"""Examples as conversations of a user and an assistant, and back.

    Example in plain words            Row, one per branch
    trunk   <image>         read      user       <image> Question: is there ..
    branch  Question: ..    read  ->  assistant  yes
            yes             said

A row also carries the branch as the run itself learned it, in its base's own
words with weights: from these the examples come back whole.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from vlm_games.data.examples import IMAGE, Example, Piece
from vlm_games.games.chat_prompts import chat_prompts
from vlm_games.games.prompts import Prompts

USER, ASSISTANT = "user", "assistant"
# What a chat template writes at a change of turns; here no text may hold it.
MARKS = {"\x1eu": USER, "\x1ea": ASSISTANT}
TURN = re.compile("(\x1e[ua])")


@dataclasses.dataclass(frozen=True)
class Message:
    """Words of one side; `<image>` stands where an image is shown.

    Attributes:
      role: USER or ASSISTANT. text: the words.
      weight: of the cross-entropy on them in the run; 0 of the user's.
    """

    role: str
    text: str
    weight: float = 0.0


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing to learn.

    Attributes:
      stream: of the run's training, such as "guesser".
      number: of the example in its stream. branch: of the row in it.
      names: of the images, as their source calls them.
      messages: the conversation; the last one is the assistant's.
      rejected: of a pair, the answer that the last message is preferred to.
      example: trunk and branch (of a pair: both) as the run learned them.
    """

    stream: str
    number: int
    branch: int
    names: tuple[str, ...]
    messages: tuple[Message, ...]
    rejected: str | None
    example: Example

    @property
    def key(self) -> str:
        """Its name, unique within an export."""
        return f"{self.stream}/{self.number:06d}/{self.branch}"


def plain_prompts() -> Prompts:
    """The game in plain words, for whatever template a trainer puts around."""
    user, assistant = MARKS
    return chat_prompts("", "", assistant, "", "", user, IMAGE)


def to_rows(
    stream: str,
    own: Sequence[Example],
    plain: Sequence[Example],
    names: Sequence[str],
    pairs: bool,
) -> list[Row]:
    """Rows of a stream.

    Args:
      own: examples in the words of the base. plain: the same examples in
        those of `plain_prompts`.
      names: of all images of the source.
      pairs: whether the two branches are a preferred and a rejected answer.
    """
    rows = []
    for number, (mine, said) in enumerate(zip(own, plain, strict=True)):
        shown = tuple(names[i] for i in mine.images)
        if pairs:
            good, bad = (messages(said.trunk + b) for b in said.branches)
            rows.append(Row(stream, number, 0, shown, good, bad[-1].text, mine))
            continue
        for branch, pieces in enumerate(said.branches or ((),)):
            part = dataclasses.replace(
                mine, branches=mine.branches[branch : branch + 1]
            )
            found = messages(said.trunk + pieces)
            rows.append(Row(stream, number, branch, shown, found, None, part))
    return rows


def messages(pieces: Iterable[Piece]) -> tuple[Message, ...]:
    """Turns of an example in plain words, to the assistant's last."""
    turns: list[Message] = []
    role = USER
    for piece in pieces:
        for text in TURN.split(piece.text):
            if text in MARKS:
                role = MARKS[text]
                continue
            if not turns or turns[-1].role != role:
                turns.append(Message(role, ""))
            before = turns[-1]
            weight = max(before.weight, piece.weight if text else 0.0)
            turns[-1] = Message(role, before.text + text, weight)
    turns = [dataclasses.replace(t, text=t.text.strip()) for t in turns]
    while turns and not (turns[-1].role == ASSISTANT and turns[-1].text):
        turns.pop()
    return tuple(turns)


def to_examples(rows: Iterable[Row]) -> dict[str, list[Example]]:
    """Examples by stream, as the run learned them.

    Rows that were taken out are missing from the examples and nothing else.
    """
    merged: dict[str, dict[int, Example]] = {}
    for row in sorted(rows, key=lambda r: (r.stream, r.number, r.branch)):
        found = merged.setdefault(row.stream, {})
        before = found.get(row.number)
        if before is None:
            found[row.number] = row.example
        else:
            branches = before.branches + row.example.branches
            found[row.number] = dataclasses.replace(before, branches=branches)
    return {stream: list(found.values()) for stream, found in merged.items()}


def row_to_fields(row: Row) -> dict:
    """The row in the types of JSON."""
    fields = dataclasses.asdict(row)
    return {"id": row.key, **fields, "example": json.dumps(fields["example"])}


def row_from_fields(fields: Mapping) -> Row:
    """The row that `row_to_fields` made."""
    found = json.loads(fields["example"])

    def pieces(rows):
        return tuple(Piece(**x) for x in rows)

    example = Example(
        tuple(found["images"]),
        pieces(found["trunk"]),
        tuple(pieces(branch) for branch in found["branches"]),
        tuple(found["reference"]),
    )
    return Row(
        fields["stream"],
        int(fields["number"]),
        int(fields["branch"]),
        tuple(fields["names"]),
        tuple(Message(**m) for m in fields["messages"]),
        fields["rejected"],
        example,
    )
