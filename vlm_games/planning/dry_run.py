"""What would a run do? Sets, examples, memory of each device, cost."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from vlm_games.planning import budget
from vlm_games.planning.budget import (
    GIB,
    RESERVED,
    Table,
    fits,
    most,
    table,
    total,
)
from vlm_games.planning.cost import costs, learners
from vlm_games.planning.plan import Device, Plan, make_plan


def dry_run(config, device: Device, folder) -> tuple[str, bool]:
    """The text, and whether the run fits.

    Args:
      config: ConfigDict. device: what the run would have.
      folder: of the config file.

    Raises:
      ValueError, FileNotFoundError: see `make_plan`.
    """
    plan = make_plan(config, device.count, folder)
    rows = table(plan)
    return report(plan, rows, device), fits(rows, device.memory_gib)


def dry_runs(
    configs: Mapping[str, ConfigDict], device: Device, folder
) -> tuple[str, bool]:
    """The texts of several runs, each below its title; whether all fit.

    Args:
      configs: by title. device, folder: see `dry_run`.

    Raises:
      ValueError, FileNotFoundError: see `make_plan`.
    """
    found = {title: dry_run(c, device, folder) for title, c in configs.items()}
    texts = [f"==== {title}\n\n{text}\n" for title, (text, _) in found.items()]
    return "\n".join(texts), all(fit for _, fit in found.values())


def playing_gib(config: ConfigDict, devices: int, folder) -> float:
    """Memory of each device while games, or other candidates, are made, GiB.

    Args:
      devices: how many. config, folder: see `dry_run`.
    """
    return total(budget.play_rows(make_plan(config, devices, folder))) / GIB


def report(plan: Plan, rows: Table, device: Device) -> str:
    """The text: what is made, memory, cost, and whether it fits."""
    config = plan.config
    base = config.base or "the shipped base"
    share = f", {plan.together} to a model" if plan.together > 1 else ""
    if config.mesh.fsdp > 1:
        share += f", its training state over {config.mesh.fsdp} times that"
    return "\n".join(
        [
            f"{base}, {config.dtype}, devices: {plan.devices}{share}",
            "",
            *images(plan),
            *made(plan),
            "",
            *memory_lines(rows),
            "",
            *cost_lines(plan, device),
            "",
            *lengths(plan),
            verdict(rows, device),
        ]
    )


def images(plan: Plan) -> list[str]:
    """What is known of the images of `config.images`, if it names any."""
    named = plan.config.images
    if not named:
        return []
    if plan.files is None:
        return [f"{named}: not opened; the figures below are as if rendered."]
    play, held = plan.image_counts()
    return [
        f"{named}: {plan.files:,} files, {play:,} to play on and {held:,} held "
        "out, before broken ones are passed over."
    ]


def made(plan: Plan) -> list[str]:
    """What is drawn, said, learned and measured, in sentences."""
    config, estimate = plan.config, plan.estimate
    lines = [
        f"{config.method}: {learners(plan)}.",
        f"A round: {estimate.candidates}.",
    ]
    if config.generated_tokens:
        lines.append(
            f"  No more of them once {config.generated_tokens:,} tokens are "
            "said (config.generated_tokens)."
        )
    for lesson in estimate.lessons:
        c = budget.settings_of(plan, lesson)
        fed = ", ".join(
            f"{c.rows[name]} of {name}" for name in budget.streams(plan, lesson)
        )
        lines.append(
            f"  {lesson.name}: {c.steps:,} steps, rows {fed}; up to "
            f"{lesson.examples:,} own examples."
        )
    c = config.eval
    held = plan.image_counts()[1]
    lines.append(
        f"Measured: {c.games:,} games of {plan.images} of {held:,} held-out "
        f"images, questions on {c.target_images:,} and {c.source_images:,}."
    )
    return lines


def memory_lines(rows: Table) -> list[str]:
    """The table of the memory of each device."""
    lines = [f"{'':<58}{'millions':>9}{'GiB each':>11}"]

    def line(name, count, size):
        count = f"{count / 1e6:,.1f}" if count else ""
        lines.append(f"{name:<58}{count:>9}{size / GIB:>11.2f}")

    for phase, found in rows.items():
        count = sum(row.count for row in found) if phase == "params" else 0
        line(phase, count, total(found))
        for row in found:
            line(f"  {row.name}", row.count, row.bytes)
    return lines


def cost_lines(plan: Plan, device: Device) -> list[str]:
    """The table of what is computed, at most; see `cost`."""
    found = costs(plan)
    head = ("times", "tokens said", "tokens read", "TFLOP")
    lines = [f"{'':<26}{head[0]:>7}{head[1]:>15}{head[2]:>17}{head[3]:>13}"]
    for x in found:
        figures = f"{x.said:>15,.0f}{x.read:>17,.0f}{x.tflop:>13,.1f}"
        lines.append(f"{x.name:<26}{x.times:>7}{figures}")
    whole = sum(x.tflop for x in found)
    time = duration(whole / (device.tflops * device.count))
    speed = f"{device.tflops:g} TFLOP/s a device (--tflops)"
    if device.own_speed:
        speed = "what CPUs like this machine's do (a guess; or give --tflops)"
    learned = sum(x.times for x in found if x.name == "measure") - 1
    kept = learned * sum(row.bytes for row in budget.param_rows(plan))
    lines += [
        f"{whole:,.1f} TFLOP at most: {time} at {speed};",
        f"{kept * plan.together / GIB:,.2f} GiB of checkpoints in the workdir.",
    ]
    return lines


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    units = (("days", 86_400), ("hours", 3_600), ("minutes", 60))
    for name, size in units:
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:,.0f} seconds" if seconds >= 2 else "a second or two"


def lengths(plan: Plan) -> list[str]:
    """Of training rows: whether they hold the longest examples.

    One that is longer is neither cut nor left out: see `training.feed`.
    """
    found, short = [], False
    for lesson in plan.estimate.lessons:
        c = budget.settings_of(plan, lesson)
        where = {"train": ""}.get(lesson.name, f" ({lesson.name})")
        for name, needed in lesson.longest.items():
            if not c.rows[name]:
                continue
            told = f"lengths.{name}={c.lengths[name]}{where}: "
            if c.lengths[name] >= needed:
                told += f"holds the longest example, {needed} tokens."
            else:
                short = True
                told += (
                    f"an example has up to {needed} tokens, if all words come "
                    "to their limits."
                )
            found.append(told)
    if short:
        found.append(
            "  An example that is longer than its row stops the run, which "
            "names the field to\n  raise (with a new --workdir)."
        )
    return found


def verdict(rows: Table, device: Device) -> str:
    """Whether it fits, in a sentence."""
    phase, needed = most(rows)
    allowed = (1 - RESERVED) * device.memory_gib
    word = "FITS" if fits(rows, device.memory_gib) else "DOES NOT FIT"
    whose = f"--memory_gib={device.memory_gib:g}"
    if device.own_memory:
        whose = "this machine's memory"
        if device.count > 1:
            whose += f", shared by {device.count} devices"
    return (
        f"{word}: {needed / GIB:.1f} GiB at most ({phase}) of {allowed:.1f} "
        f"GiB, nine tenths of {whose}."
    )
