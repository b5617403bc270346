"""What is true of a frame: who holds what, and where it is."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from vlm_games.data.manifest import json_rows
from vlm_games.robot.tasks import TASKS

Place = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Facts:
    """The state of a frame, whatever its camera shows of it.

    Attributes:
      held: of each object the hands ("left", "right") that hold it off the
        table.
      lying: objects on the table.
      inside: whether the peg touches the stop in the socket.
      places: of each object and each hand x, y, z; m.
    """

    held: Mapping[str, tuple[str, ...]]
    lying: tuple[str, ...]
    inside: bool
    places: Mapping[str, Place]

    def to_dict(self) -> dict[str, Any]:
        """As a manifest keeps it; places to the millimetre."""
        found = dataclasses.asdict(self)
        rounded = {
            k: [round(float(x), 3) for x in p] for k, p in self.places.items()
        }
        return found | {"places": rounded}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Facts":
        """Inverse of `to_dict`."""
        return cls(
            {k: tuple(hands) for k, hands in fields["held"].items()},
            tuple(fields["lying"]),
            fields["inside"],
            {k: tuple(place) for k, place in fields["places"].items()},
        )


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What a manifest of `vlm_games.record_aloha` says of a frame."""

    task: str
    episode: str
    step: int
    facts: Facts


def read_labels(manifest: str | os.PathLike) -> dict[str, Labelled]:
    """Labels by the names of frames, of those whose facts the manifest tells.

    Raises:
      ManifestError: a line that is no JSON object.
    """
    name, found = os.fspath(manifest), {}
    text = epath.Path(name).read_text(encoding="utf-8")
    for _, row in json_rows(text, name):
        if row.get("task") not in TASKS or "facts" not in row:
            continue
        found[str(row.get("id", row["path"]))] = Labelled(
            row["task"],
            row["episode"],
            row["step"],
            Facts.from_dict(row["facts"]),
        )
    return found
