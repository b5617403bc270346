"""One engine in a process of its own: plays a round per line that it is sent.

    python worker.py ENGINE MODEL WORK

Each line of its input is JSON, {"round": number, "turns": number}; so is each
answer.
"""

import contextlib
import importlib
import json
import os
import pathlib
import re
import sys

import work as works


def main(engine: str, model: str, folder: str) -> None:
    """Serves until its input ends."""
    # Libraries print what they like: answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = pathlib.Path(folder)
    work = works.Work.load(folder)
    module, _, how = engine.partition(":")
    player = importlib.import_module(module).load(
        pathlib.Path(model), work, how
    )
    print(json.dumps("ready"), file=answers)
    answers.flush()
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            command = json.loads(line)
            found = works.pictures(folder, command["round"])
            counts = works.Counts()
            played = player.play(found, command["turns"], counts)
            answer = {
                "ends": played.ends,
                "said": played.said,
                "computed": counts.computed,
                "compiles": player.compiles(),
                "syncs": counts.syncs,
                "peak": peak_memory(),
            }
            print(json.dumps(answer), file=answers)
            answers.flush()


def peak_memory() -> int:
    """Most bytes resident so far, of this process and of those it started."""
    kib, processes = 0, [os.getpid()]
    while processes:
        root = pathlib.Path(f"/proc/{processes.pop()}")
        status = (root / "status").read_text()
        kib += int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
        for task in (root / "task").iterdir():
            processes += (task / "children").read_text().split()
    return kib * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
