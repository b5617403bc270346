"""From settings to a folder of frames with manifests of them.

    settings.json                            what was asked for
    source-train.insertion.jsonl, ...        a manifest per part and task
    source-train.jsonl, ...                  and per part, written last
    frames/insertion/source-train/0003/      an episode: frames, and its rows

An episode depends on the settings and its own number alone. One that is there
is not made again, so a recording that was stopped goes on.
"""

import collections
import dataclasses
import io
import json
import multiprocessing
import pathlib
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vlm_games.data import atomic
from vlm_games.robot import flaws, plans
from vlm_games.robot.episodes import (
    PARTS,
    Episode,
    Settings,
    frame_steps,
    list_episodes,
)
from vlm_games.robot.tasks import TASKS, draw_places

TRIES = 40  # of an episode, until it ends as it is to end
QUALITY = 90  # of JPEG
MISSING = (
    "recording needs gym-aloha, which is not installed: pip install "
    "'vlm_games[aloha]', and Debian's package libosmesa6."
)


# An episode -------------------------------------------------------------------


def record_episode(
    folder: pathlib.Path, settings: Settings, episode: Episode
) -> None:
    """Simulates an episode until it ends as it is to end; writes its frames.

    Raises:
      ValueError: the extra is missing, or no try ended as it was to end.
    """
    simulator = load_simulator()
    tries = []
    for count in range(TRIES):
        flaw, rollout = _attempt(simulator, settings, episode, count)
        tries.append([flaw, rollout.success])
        if rollout.success == episode.success:
            break
    else:
        raise ValueError(
            f"{episode.name}: {TRIES} tries, and none ended with "
            f"success={episode.success}. Take another --seed, or a gym-aloha "
            "nearer to version 0.1.5."
        )
    look = episode.look(settings.seed)
    steps = frame_steps(settings)
    pictures = simulator.paint(
        TASKS[episode.task], rollout.positions[steps], look, settings.size
    )
    path = _rows(folder, episode)
    for step, picture in zip(steps, pictures, strict=True):
        atomic.write_bytes(path.with_name(f"{step:03d}.jpg"), _jpeg(picture))
    labels = {
        "flaw": flaw,
        "domain": PARTS[episode.part].domain,
        "seed": settings.seed,
        "look": dataclasses.asdict(look),
    }
    rows = []
    for moment, step in enumerate(steps):
        row = _row(episode, moment, step, int(rollout.rewards[step])) | labels
        facts = simulator.look_up(TASKS[episode.task], rollout.positions, step)
        rows.append(row | {"facts": facts.to_dict()})
    # Last: it says that the episode is there.
    atomic.write_json(path, {"tries": tries, "rows": rows})


def _attempt(
    simulator: types.ModuleType,
    settings: Settings,
    episode: Episode,
    count: int,
) -> tuple[str, Any]:
    """The flaw of try `count`, and what came of it."""
    task = TASKS[episode.task]
    rng = episode.rng(settings.seed, count)
    known = sorted(flaws.FLAWS[task.name])
    flaw = "none" if episode.success else str(rng.choice(known))
    places = draw_places(task, rng)
    arms = plans.script(task, places, rng)
    if flaw != "none":
        arms = flaws.spoil(arms, task, flaw, rng)
    return flaw, simulator.roll_out(task, places, plans.actions(arms, rng))


def _row(episode: Episode, moment: int, step: int, reward: int) -> dict:
    """A frame, as a manifest has it; a cluster is one moment of a task."""
    return {
        "path": f"frames/{episode.name}/{step:03d}.jpg",
        "id": f"{episode.name}/{step:03d}",
        "cluster": f"{episode.task}/{moment}",
        "episode": episode.name,
        "step": step,
        "task": episode.task,
        "success": episode.success,
        "reward": reward,
    }


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(
        file, "JPEG", quality=QUALITY, subsampling="4:4:4"
    )
    return file.getvalue()


def _rows(folder: pathlib.Path, episode: Episode) -> pathlib.Path:
    return folder / "frames" / episode.name / "episode.json"


def load_simulator() -> types.ModuleType:
    """The module that needs gym-aloha.

    Raises:
      ValueError: the extra, or a way to render, is missing.
    """
    try:
        from vlm_games.robot import simulator
    except ModuleNotFoundError as error:
        raise ValueError(MISSING) from error
    except (ImportError, AttributeError) as error:  # OpenGL's own ways
        raise ValueError(
            f"MuJoCo finds no OpenGL to render with ({error}): apt-get install "
            "libosmesa6, or set MUJOCO_GL=egl where there is a GPU."
        ) from error
    return simulator


# All of them ------------------------------------------------------------------


def record(
    folder: pathlib.Path,
    settings: Settings,
    jobs: int = 1,
    done: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Makes what is missing of a recording.

    Args:
      folder: is made if need be. jobs: processes.
      done: told of how many episodes are there, and of how many.

    Raises:
      ValueError: the folder has a recording of other settings, or the extra is
        missing where something is to be made.
    """
    asked = dataclasses.asdict(settings)
    found = atomic.read_json(folder / "settings.json")
    if found not in (None, asked):
        raise ValueError(
            f"{folder} has a recording with {_differing(found, asked)}. Take "
            "another --output, or delete it."
        )
    episodes = list_episodes(settings)
    missing = [e for e in episodes if not _rows(folder, e).is_file()]
    complete = all(_manifest(folder, part).is_file() for part in PARTS)
    done(len(episodes) - len(missing), len(episodes))
    if complete and not missing:
        return
    if missing:
        load_simulator()  # before anything is written, and before others start
    atomic.write_json(folder / "settings.json", asked)
    for count, _ in enumerate(_make(folder, settings, missing, jobs), 1):
        done(len(episodes) - len(missing) + count, len(episodes))
    for part in PARTS:
        of_part = [e for e in episodes if e.part == part]
        for task in TASKS:
            of_task = [e for e in of_part if e.task == task]
            _write_manifest(folder, f"{part}.{task}", of_task)
        _write_manifest(folder, part, of_part)


def _write_manifest(
    folder: pathlib.Path, name: str, episodes: Sequence[Episode]
) -> None:
    rows = [
        row
        for episode in episodes
        for row in json.loads(_rows(folder, episode).read_bytes())["rows"]
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    atomic.write_bytes(_manifest(folder, name), text.encode())


def _manifest(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"{name}.jsonl"


def _differing(found: dict, asked: dict) -> str:
    names = sorted({k for k, _ in found.items() ^ asked.items()})
    return ", ".join(
        f"{k}={found.get(k)} (asked for {asked.get(k)})" for k in names
    )


def _make(
    folder: pathlib.Path,
    settings: Settings,
    episodes: Sequence[Episode],
    jobs: int,
) -> Iterator[None]:
    """Records episodes, in any order."""
    work = [(folder, settings, episode) for episode in episodes]
    if jobs == 1:
        for item in work:
            record_episode(*item)
            yield
        return
    # Forking is not safe once JAX or OpenGL have threads.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_record, work)


def _record(work: tuple[pathlib.Path, Settings, Episode]) -> None:
    record_episode(*work)


def summary(folder: pathlib.Path, settings: Settings) -> dict:
    """Counts of a finished recording.

    Returns:
      parts: "<part>, <task>" -> episodes, frames, success (percent);
      tries: "<task>, <flaw>" -> tries, success (percent), before any choice;
      bytes: of all frames.
    """
    rows, tries = collections.defaultdict(list), collections.defaultdict(list)
    for episode in list_episodes(settings):
        found = json.loads(_rows(folder, episode).read_bytes())
        rows[f"{episode.part}, {episode.task}"].append(found["rows"])
        for flaw, success in found["tries"]:
            tries[f"{episode.task}, {flaw}"].append(success)
    return {
        "parts": {
            key: {
                "episodes": len(found),
                "frames": sum(map(len, found)),
                "success": 100 * np.mean([x[-1]["success"] for x in found]),
            }
            for key, found in rows.items()
        },
        "tries": {
            key: {"tries": len(found), "success": 100 * np.mean(found)}
            for key, found in sorted(tries.items())
        },
        "bytes": sum(p.stat().st_size for p in folder.rglob("*.jpg")),
    }


def tell(counts: dict) -> str:
    """A table of what `summary` counted."""
    lines = [f"{'':32}  episodes  frames  success, %"]
    lines += [
        f"{name:32}  {x['episodes']:8}  {x['frames']:6}  {x['success']:10.1f}"
        for name, x in counts["parts"].items()
    ]
    lines += [f"{'tries':32}  {'':8}  {'':6}  success, %"]
    lines += [
        f"{name:32}  {x['tries']:8}  {'':6}  {x['success']:10.1f}"
        for name, x in counts["tries"].items()
    ]
    return "\n".join([*lines, f"frames take {counts['bytes'] / 1e6:.1f} MB"])
