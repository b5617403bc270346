"""All measures of one model: questions, games, guards, forgetting."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vlm_games.data.fetch import fetch
from vlm_games.data.images import ImageSource, RenderedSource, Subset
from vlm_games.evaluation.captioned import captioned_accuracy
from vlm_games.evaluation.choices import Choice, choice_accuracy, draw_choices
from vlm_games.evaluation.descriptions import describe, description_figures
from vlm_games.evaluation.game_success import held_out_specs, measure_games
from vlm_games.evaluation.questions import (
    Item,
    answer_accuracy,
    draw_items,
)
from vlm_games.evaluation.robot import Outcomes, open_outcomes
from vlm_games.evaluation.speaker import Speaker
from vlm_games.games.play import Role, Table
from vlm_games.games.protocol import GameSpec
from vlm_games.sampling.scoring import Scorer


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """What models are measured on; no model learns from it.

    Attributes:
      games: images of the games; specs: the games.
      target, source: RenderedSource of the two domains; target_items,
        source_items: their questions.
      choices: multiple choices on the target, if they are measured.
      description_tokens: most of an own description of the target that is put
        before its questions; 0 if that is not measured.
      outcomes: of labelled episodes of a robot, by the name of the measure.
      guard_games: games of each guard. seed: of all draws.
    """

    games: ImageSource
    specs: Sequence[GameSpec]
    target: RenderedSource
    target_items: Sequence[Item]
    source: RenderedSource
    source_items: Sequence[Item]
    choices: Sequence[Choice]
    description_tokens: int
    outcomes: Mapping[str, Outcomes]
    guard_games: int
    seed: int


def hold_out(
    games: ImageSource,
    target: RenderedSource,
    source: RenderedSource,
    config: ConfigDict,
    images_per_game: int,
) -> HeldOut:
    """Draws the questions and games of a run's measure.

    Args:
      games: images of the held-out games; target, source: RenderedSource.
      config: `config.eval`.
    """
    specs = held_out_specs(
        config.games, images_per_game, len(games), config.seed
    )
    # Of a large source only what is played with is ever decoded.
    used = tuple(sorted({i for spec in specs for i in spec.images}))
    place = {image: number for number, image in enumerate(used)}
    specs = [
        dataclasses.replace(s, images=tuple(place[i] for i in s.images))
        for s in specs
    ]
    return HeldOut(
        games=Subset(games, used),
        specs=specs,
        target=target,
        target_items=draw_items(target.scenes, config.seed),
        source=source,
        source_items=draw_items(source.scenes, config.seed + 1),
        choices=draw_choices(target.scenes, config.seed)
        if config.choices
        else (),
        description_tokens=config.description_tokens * config.described,
        outcomes={
            name: open_outcomes(manifest, len(target[0]), config.seed)
            for name, manifest in (
                ("robot", config.robot),
                ("robot_source", config.robot_source),
            )
            if manifest
        },
        guard_games=config.guard_games,
        seed=config.seed,
    )


def stack(images: ImageSource) -> np.ndarray:
    """All images of a source, uint8 [N, H, W, 3]."""
    return fetch(images, range(len(images)))


def measure(
    speaker: Speaker,
    scorer: Scorer,
    table: Table,
    params,
    base_params,
    held_out: HeldOut,
    guards: bool = True,
    part_done: Callable[[], None] = lambda: None,
) -> dict:
    """Returns the metrics of one model, as metrics.json names them.

    Args:
      guards: whether the blind Describer and cross-play are measured.
      part_done: told of every part that is measured, `count_parts` in all.
    """
    engine, prompts = speaker.engine, speaker.prompts
    metrics: dict[str, Any] = {"game_images": len(held_out.games)}
    roles: dict[str, Role] = {}
    for name, images, items in [
        ("vqa", held_out.target, held_out.target_items),
        ("source", held_out.source, held_out.source_items),
    ]:
        tokens = engine.encode(params, stack(images))
        roles[name] = Role(params, tokens)
        found = answer_accuracy(scorer, prompts, params, tokens, items)
        metrics |= {f"{name}_{key}": value for key, value in found.items()}
        part_done()
    metrics |= measure_optional(
        speaker, scorer, roles["vqa"], held_out, part_done
    )
    pixels = stack(held_out.games)
    metrics |= measure_games(
        table,
        scorer,
        prompts,
        Role(params, engine.encode(params, pixels)),
        Role(base_params, engine.encode(base_params, pixels)),
        engine.encode(params, np.full_like(pixels, 128)),
        held_out.specs,
        held_out.guard_games if guards else 0,
        held_out.seed,
        part_done,
    )
    return metrics


def measure_optional(
    speaker: Speaker,
    scorer: Scorer,
    role: Role,
    held_out: HeldOut,
    part_done: Callable[[], None],
) -> dict:
    """Figures of what `config.eval` asks for beyond questions and games."""
    metrics: dict[str, Any] = {}
    if held_out.choices:
        found = choice_accuracy(speaker, role, held_out.choices, held_out.seed)
        metrics["vqa_choice"] = found.pop("choice")
        metrics |= found
        part_done()
    if held_out.description_tokens:
        metrics |= measure_described(speaker, scorer, role, held_out)
        part_done()
    for name, outcomes in held_out.outcomes.items():
        metrics |= measure_outcomes(
            speaker, scorer, role.params, name, outcomes
        )
        part_done()
    return metrics


def count_parts(held_out: HeldOut, guards: bool) -> int:
    """How often `measure` calls `part_done`."""
    asked = 2 + bool(held_out.choices) + bool(held_out.description_tokens)
    asked += len(held_out.outcomes)
    return asked + (3 if guards and held_out.guard_games else 1)


def measure_outcomes(
    speaker: Speaker, scorer: Scorer, params, name: str, outcomes: Outcomes
) -> dict:
    """Whether the model tells success from failure; percent.

    Returns:
      `name` with _success: mean of the accuracies on success and on failure,
      _yes and _no: the two, _sampled: the same as _success expected of sampled
      answers, _tasks: _success by task.
    """
    tokens = speaker.engine.encode(params, stack(outcomes.images))
    found = answer_accuracy(
        scorer, speaker.prompts, params, tokens, outcomes.items
    )
    return {
        f"{name}_success": found["yes_no"],
        f"{name}_yes": found["yes"],
        f"{name}_no": found["no"],
        f"{name}_sampled": found["sampled_yes_no"],
        f"{name}_tasks": found["kinds"],
    }


def measure_described(
    speaker: Speaker,
    scorer: Scorer,
    role: Role,
    held_out: HeldOut,
) -> dict:
    """Figures of own descriptions of the target, and of answers behind them."""
    scenes = held_out.target.scenes
    texts = describe(speaker, role, len(scenes), held_out.description_tokens)
    before = {
        image: speaker.instructions.described.format(description=text)
        for image, text in enumerate(texts)
    }
    found = answer_accuracy(
        scorer,
        speaker.prompts,
        role.params,
        role.image_tokens,
        held_out.target_items,
        before,
    )
    captioned = {}
    if held_out.choices:
        captioned = captioned_accuracy(
            speaker,
            role,
            held_out.choices,
            held_out.seed,
            texts,
        )
    return {
        "vqa_described_yes_no": found["yes_no"],
        "vqa_described_other": found["other"],
        **description_figures(texts, scenes),
        **captioned,
    }
