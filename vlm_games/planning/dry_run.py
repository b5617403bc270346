"""Will it fit? A table of the memory that a config asks for; see `budget`."""

from vlm_games.planning.budget import (
    GIB,
    RESERVED,
    Table,
    fits,
    most,
    table,
    total,
)
from vlm_games.planning.plan import Plan, make_plan


def dry_run(
    config, devices: int, folder, memory_gib: float
) -> tuple[str, bool]:
    """The table as text, and whether the run fits.

    Args:
      config: ConfigDict. devices: that the run would have.
      folder: of the config file. memory_gib: of a device.

    Raises:
      ValueError, FileNotFoundError: see `make_plan`.
    """
    plan = make_plan(config, devices, folder)
    rows = table(plan)
    return report(plan, rows, memory_gib), fits(rows, memory_gib)


def report(plan: Plan, rows: Table, memory_gib: float) -> str:
    """The table as text, and whether it fits."""
    config, lines = plan.config, []

    def line(name, count, size):
        count = f"{count / 1e6:,.1f}" if count else ""
        lines.append(f"{name:<58}{count:>9}{size / GIB:>11.2f}")

    base = config.base or "the shipped base"
    share = f", {plan.together} to a model" if plan.together > 1 else ""
    if plan.config.mesh.fsdp > 1:
        share += f", its training state over {plan.config.mesh.fsdp} times that"
    lines += [f"{base}, {config.dtype}, devices: {plan.devices}{share}", ""]
    lines.append(f"{'':<58}{'millions':>9}{'GiB each':>11}")
    for phase, found in rows.items():
        count = sum(row.count for row in found) if phase == "params" else 0
        line(phase, count, total(found))
        for row in found:
            line(f"  {row.name}", row.count, row.bytes)
    lines += ["", *lengths(plan)]
    if config.method != "dialog_games":
        lines.append(
            f"config.method={config.method!r}: playing and training are "
            "counted as for dialog games; its own prompts and rows are not."
        )
    lines.append(verdict(rows, memory_gib))
    return "\n".join(lines)


def lengths(plan: Plan) -> list[str]:
    """Of training rows: what their longest examples may need."""
    c, found = plan.config.train, []
    for name, needed in plan.longest().items():
        if c.rows[name]:
            enough = "enough." if c.lengths[name] >= needed else "TOO FEW?"
            found.append(
                f"config.train.lengths.{name}={c.lengths[name]}: {enough} An "
                f"example has up to {needed} tokens."
            )
    return found


def verdict(rows: Table, memory_gib: float) -> str:
    """Whether it fits, in a sentence."""
    phase, needed = most(rows)
    allowed = (1 - RESERVED) * memory_gib
    word = "FITS" if fits(rows, memory_gib) else "DOES NOT FIT"
    return (
        f"{word}: {needed / GIB:.1f} GiB at most ({phase}) of {allowed:.1f} "
        f"GiB, nine tenths of --memory_gib={memory_gib:g}."
    )
