"""The commands of vlm_games: `python -m vlm_games` lists them."""

import ast
import pathlib
from collections.abc import Mapping

PACKAGE = pathlib.Path(__file__).parent
STARTS = ('\nif __name__ == "__main__":', "command_line.run(")


def commands() -> Mapping[str, str]:
    """What each command is for, by what stands behind `python -m`.

    Read from the files and not imported: JAX alone takes seconds.
    """
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if path.stem != "__main__" and all(x in source for x in STARTS):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            about = ast.get_docstring(ast.parse(source)) or ""
            found[".".join(parts)] = about.partition("\n")[0]
    return found


def main() -> None:
    print("Usage: python -m COMMAND [flags]; --help tells more of each.\n")
    for name, about in commands().items():
        print(f"{name}\n    {about}")


if __name__ == "__main__":
    main()
