"""The data card of an export, in the form that the hub shows."""

import json

from vlm_games.data.examples import IMAGE
from vlm_games.exporting.conversations import Row
from vlm_games.exporting.gather import Export

CARD = """\
---
language: en
task_categories: [image-text-to-text]
tags: [vlm_games, self-improvement, synthetic]
---

# What a model learned from playing by itself

{about}

{kind} No person labelled any of it: a vision-language model made it, and a
filter of its own chose it. What it says may be false.

| | |
|---|---|
{table}

## Rows

| stream | rows |
|---|---|
{streams}

Each row has a name (`id`), the names of its images (`image_ids`) and `record`:
the row as JSON, with the weight that the run gave to every stretch of text and
the text as its base was spoken to. `vlm_games.exporting.formats.read(folder)`
gives back the very examples that the run was trained on.

One row of each stream:

{samples}

## Config of the run

```json
{config}
```
"""
KINDS = {
    False: "Conversations to be learned by likelihood.",
    True: "Preferences: an answer, and one that it is preferred to. The "
    "rejected one is a rival, which nobody checked to be wrong.",
}
TABLE = {
    "method": "method",
    "arm": "arm",
    "iteration": "iteration",
    "filter": "chosen by",
    "base": "base model",
    "base_sha256": "SHA-256 of the base's weights",
    "images": "images",
    "images_digest": "digest of the images",
    "pictures": "images that occur",
    "code": "exported by",
}


def card(export: Export, about: str) -> str:
    """The card in Markdown. `about`: the format in a sentence."""
    facts = export.provenance
    first: dict[str, Row] = {}
    for row in export.rows:
        first.setdefault(row.stream, row)
    return CARD.format(
        about=about,
        kind=KINDS[export.pairs],
        table="\n".join(
            f"| {label} | {_cell(facts[name])} |"
            for name, label in TABLE.items()
        ),
        streams="\n".join(
            f"| {stream} | {count} |" for stream, count in facts["rows"].items()
        ),
        samples="\n\n".join(_sample(row) for row in first.values()),
        config=json.dumps(facts["config"], indent=1),
    )


def _cell(value) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _sample(row: Row) -> str:
    """A row as a block of text; no fence that a text holds ends it."""
    lines = [
        f"{m.role}: {m.text.replace(IMAGE, '[image]')}" for m in row.messages
    ]
    if row.rejected is not None:
        lines.append(f"rejected: {row.rejected}")
    return "````text\n" + "\n".join(lines).replace("````", "'''") + "\n````"
