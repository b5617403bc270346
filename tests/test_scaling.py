"""The figures of docs/scaling.md are what the arithmetic gives."""

import json

import pytest
from program import ROOT

from vlm_games.planning import scaling

PAGE = (ROOT / "docs/scaling.md").read_text()
CASES = [(m, n) for m in scaling.MACHINES for n in scaling.MODELS]


def numbers(machine: str, model: str, table: int) -> list[str]:
    """Cells of a row of a table, behind machine and model."""
    name = machine.replace(" x ", " ")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if line.startswith(f"| {name}")
    ]
    found = [row[2:] for row in rows if row[1].startswith(model)]
    return found[table]


@pytest.mark.parametrize(("machine", "model"), CASES)
def test_games_and_checkpoints(machine, model):
    m, n = scaling.MACHINES[machine], scaling.MODELS[model]
    rate = scaling.games_a_second(m, n)
    assert numbers(machine, model, 0) == [
        f"{rate:.1f}",
        f"{scaling.GAMES / rate / 3600:.1f}",
        f"{scaling.device_bytes(n) / 1e9:.1f}",
        f"{scaling.checkpoint_seconds(m, n):.1f}",
    ]
    assert scaling.device_bytes(n) < 0.9 * m.memory


@pytest.mark.parametrize(("machine", "model"), CASES)
def test_what_hosts_exchange(machine, model):
    m, n = scaling.MACHINES[machine], scaling.MODELS[model]
    sent = [scaling.exchanged(m, n, hosts) for hosts in (1, m.hosts)]
    assert numbers(machine, model, 1) == [
        f"{x / 1e9:.1f} GB, {x / m.network:.2f} s" for x in sent
    ]


def test_what_breaks_first():
    held = scaling.host_bytes()
    for told in (
        f"{scaling.bank_bytes(scaling.MODELS['7B']) / 1e12:.0f} TB (7B)",
        f"{scaling.bank_bytes(scaling.MODELS['27B']) / 1e12:.0f} TB (27B)",
        f"{held['games'] / 1e9:.1f} GB in each",
        f"{held['lines'] / 1e9:.0f} GB of words",
        f"{held['names'] / 1e9:.0f} GB in each",
        f"{scaling.looking_hours():.1f} hours",
    ):
        assert told in PAGE, told


def test_growth_is_what_was_measured():
    found = json.loads((ROOT / "docs/results/growth.json").read_text())
    phases = ("started", "played", "read", "chosen")
    for row in found["rows"]:
        head = f"| {row['who']} | {row['games']:,} | {row['devices']} | "
        held = [str(row[phase]["mib"]) for phase in phases]
        (line,) = (x for x in PAGE.splitlines() if x.startswith(head))
        assert line.endswith(f"| {' | '.join(held)} |")
        # Processes begin with more or less; for games they take no more.
        if row["who"] == "made":
            first, *_, last = (row[phase]["mib"] for phase in phases)
            assert last < 1.1 * first, row
