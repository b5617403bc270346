"""A local page over a run, finished or under way.

    python -m vlm_games.view --workdir=/tmp/scenes

Curves, a gallery of its games, each game in detail, and a seat at the table
against any of its checkpoints; see docs/viewer.md. Only this machine can open
the page. Beside a run that holds the accelerator, set JAX_PLATFORMS=cpu.
"""

import errno
import socket
import sys

from absl import flags

from vlm_games import command_line
from vlm_games.viewing.run_folder import RunFolder

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_PORT = flags.DEFINE_integer("port", 8765, "0 takes one that is free.", 0)

HOST = "127.0.0.1"


def main() -> None:
    try:
        import uvicorn

        from vlm_games.viewing.app import make_app
    except ImportError as error:
        sys.exit(
            "vlm_games: the viewer needs starlette and uvicorn: "
            f"pip install 'vlm_games[view]' ({error})."
        )
    page = make_app(RunFolder(_WORKDIR.value))
    try:
        listening = socket.create_server((HOST, _PORT.value))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        sys.exit(
            f"vlm_games: port {_PORT.value} is taken, perhaps by another "
            "viewer; give --port=0 for a free one."
        )
    port = listening.getsockname()[1]
    print(f"http://{HOST}:{port}/ (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(
        page, log_level="warning", server_header=False, ws="none"
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    command_line.run(main, ["workdir"])
