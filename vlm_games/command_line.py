"""What every command shares: its help, its config by name, its errors.

A config is named by its path or, if it is one of the repository's own, by its
bare name, such as `scenes` or `compare:stic`; these come with the wheel too.
"""

import contextlib
import difflib
import errno
import os
import pathlib
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from logging import Formatter, LogRecord
from typing import NoReturn, TypeVar, cast

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

PACKAGE = pathlib.Path(__file__).parent
CONFIG_HELP = (
    "Path of a config file, or the name of one that comes with vlm_games; "
    "--config.train.steps=10 sets a field of it."
)
# What a user can mend; anything else is a fault of ours and keeps its trace.
USER_ERRORS = (OSError, ValueError)
# No room on the disk, in a quota, or below a limit on the size of files.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WIDTH = 80

T = TypeVar("T")

flags.disclaim_key_flags()  # what is defined here is a flag of the caller


def define_config(help_: str = CONFIG_HELP) -> flags.FlagHolder:
    """The flag --config of a command."""
    return config_flags.DEFINE_config_file("config", None, help_)


def define_dry_run() -> flags.FlagHolder:
    """The flag --dry_run of a command."""
    return flags.DEFINE_bool("dry_run", False, "Only tell what would be done.")


def define_device() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """The flags --memory_gib and --tflops of a command with --dry_run."""
    memory = flags.DEFINE_float(
        "memory_gib",
        None,
        "Of a --dry_run: memory of a device, GiB; if not given, this "
        "machine's where it has no accelerator, otherwise 80.",
    )
    speed = flags.DEFINE_float(
        "tflops",
        None,
        "Of a --dry_run: what a device keeps up, TFLOP/s; if not given, a "
        "rough figure of this machine where it has no accelerator, "
        "otherwise 100.",
    )
    return memory, speed


def required(flag: flags.FlagHolder[T | None]) -> flags.FlagHolder[T]:
    """The flag, which has a value wherever `run` requires it by name."""
    return cast("flags.FlagHolder[T]", flag)


def run(
    main: Callable[[], int | None],
    required: Sequence[str] = (),
    errors: tuple[type[Exception], ...] = (),
) -> None:
    """Runs a command and ends the process.

    Only warnings and worse are logged, unless --verbosity says otherwise.

    Args:
      main: returns the exit status. required: names of flags.
      errors: besides `USER_ERRORS`, those whose message is for the user.
    """

    def start(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            _stop(f"flags begin with --, and {argv[1]!r} does not.")
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        if logging.get_verbosity() < logging.INFO:  # nobody looks for times
            logging.get_absl_handler().setFormatter(_Plain())
        with errors_for_user(errors), _pipe_may_end():
            sys.exit(main())

    for name in required:
        flags.register_validator(
            name,
            lambda value: value is not None,
            message=f"give --{name}: {flags.FLAGS[name].help}",
        )
    app.run(start, flags_parser=_parse)


class _Plain(Formatter):
    """A line of the log without time, thread and place."""

    def format(self, record: LogRecord) -> str:
        return f"vlm_games: {record.levelname.lower()}: {record.getMessage()}"


@contextlib.contextmanager
def _pipe_may_end() -> Iterator[None]:
    """Within, whoever reads what is printed may stop, as `head` does."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would write the rest once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # as shells say it of a process that SIGPIPE ended


@contextlib.contextmanager
def errors_for_user(errors: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Within, an error that the user can mend becomes one line, SystemExit.

    Args:
      errors: besides `USER_ERRORS`, those whose message is for the user.
    """
    for_user: tuple[type[Exception], ...] = (*USER_ERRORS, *errors)
    try:
        yield
    except for_user as error:
        logging.vlog(1, "trace", exc_info=True)
        sys.exit(f"vlm_games: {tell(error)}")


def tell(error: Exception) -> str:
    """What the user is told of an error."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return (
            f"{error.filename or 'A file'} cannot be written: "
            f"{error.strerror}. Make room and start the same command again; "
            "what was finished is whole, and the run goes on from there."
        )
    return str(error)


def load_config(named: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config as the flag --config would read it.

    Args:
      named: see `find_config`. overrides: such as "config.seed=1".

    Raises:
      ValueError: there is no such config, no such field, or it is ill-typed.
    """
    path = find_config(named)
    bare = _read(path, [])
    _check_names(bare, overrides)
    try:
        return _read(path, [f"--{item}" for item in overrides])
    except flags.Error as error:
        raise ValueError(explain(str(error), bare)) from None


def _read(path: str, overrides: Sequence[str]) -> ConfigDict:
    argv, own = ["", f"--config={path}", *overrides], flags.FlagValues()
    found = config_flags.DEFINE_config_file(
        "config", None, "", flag_values=own, sys_argv=argv
    )
    try:
        own(argv)
    except flags.IllegalFlagValueError as error:
        # The config's own words, without the trace to where it says them.
        said = re.search(r"\nValueError: (.*)\Z", str(error), re.DOTALL)
        if overrides or said is None:
            raise
        raise ValueError(said[1].strip()) from None
    return found.value


def own_configs() -> pathlib.Path:
    """Folder of the repository's configs; a wheel has it in the package."""
    packed = PACKAGE / "configs"
    return packed if packed.is_dir() else PACKAGE.parent / "configs"


def find_config(named: str) -> str:
    """Path of a config, with ":argument" behind it if there is one.

    Args:
      named: "path[:argument]" or "name[:argument]" of one of the repository's,
        which may also be called "configs/name.py".

    Raises:
      ValueError: it is neither; the message has the nearest name.
    """
    name, colon, argument = named.partition(":")
    path = pathlib.Path(name)
    if not path.is_file():
        bare = name.removeprefix("configs/").removesuffix(".py")
        path = own_configs() / f"{bare}.py"
        known = sorted(p.stem for p in own_configs().glob("*.py"))
        if bare not in known:
            raise ValueError(
                f"--config={named}: there is no such file, and no config of "
                f"this name comes with vlm_games; {nearest(bare, known)} Known "
                f"are {', '.join(known)}."
            )
    return f"{path}{colon}{argument}"


def nearest(word: str, known: Sequence[str]) -> str:
    """A question after the one that was meant."""
    found = difflib.get_close_matches(word, known, 1, 0.0)
    return f"did you mean {found[0]!r}?" if found else "there is none."


def _parse(argv: Sequence[str]) -> list[str]:
    """As `app.run` wants it; ends the process for --help and wrong flags."""
    if {"--help", "-help", "-h", "-?", "--helpshort"} & set(argv):
        print(help_text())
        sys.exit(0)
    try:
        argv, named = _with_path(argv)
        bare = _read(named, []) if named else None
        if bare is not None:
            _check_names(bare, [x.lstrip("-") for x in argv])
    except (*USER_ERRORS, flags.Error) as error:
        _stop(str(error))
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _stop(explain(str(error), bare))


def _stop(message: str) -> NoReturn:
    sys.exit(f"vlm_games: {message}\n--help lists the flags, with an example.")


def _with_path(argv: Sequence[str]) -> tuple[list[str], str | None]:
    """The arguments with the config's path for its name, and the path."""
    found, path = list(argv), None
    if "config" not in flags.FLAGS:
        return found, path
    for i, item in enumerate(argv):
        if re.fullmatch(r"--?config", item) and i + 1 < len(argv):
            found[i + 1] = path = find_config(argv[i + 1])
        elif match := re.fullmatch(r"(--?config=)(.+)", item):
            path = find_config(match[2])
            found[i] = match[1] + path
    return found, path


def _check_names(config: ConfigDict, overrides: Sequence[str]) -> None:
    """Raises ValueError for a field that the config does not have.

    Args:
      overrides: "config.game.games=3"; what begins otherwise is passed over.
    """
    for item in overrides:
        name = item.partition("=")[0]
        root, *parts = name.split(".")
        if root not in ("config", "noconfig") or not parts:
            continue
        there, path = config, "config"
        for part in parts:
            if not isinstance(there, Mapping | ConfigDict):
                raise ValueError(
                    f"--{name}: {path} is {there!r} and has no fields; set it "
                    f"as --{path}=..."
                )
            if part not in there:
                raise ValueError(unknown_field(path, part, list(there)))
            there, path = there[part], f"{path}.{part}"


def unknown_field(path: str, part: str, known: Sequence[str]) -> str:
    """What is said of a field `path.part` that is not there."""
    return (
        f"{path} has no field {part!r}; {nearest(part, known)} It has "
        f"{', '.join(known) or 'none'}."
    )


def explain(message: str, config: ConfigDict | None) -> str:
    """A message of absl on flags, with what a field of the config takes."""
    message = re.sub(r"^flag --\w+=None: ", "", message)
    if enum := re.match(r"flag --(\w+)=(.*): .* one of <(.*)>", message):
        name, word, known = enum[1], enum[2], enum[3].split("|")
        return (
            f"--{name}={word}: {nearest(word, known)} Known are "
            f"{', '.join(known)}."
        )
    found = re.search(r"flag --(?:no)?config\.([\w.]+)=(.*?): ", message)
    if found is None or config is None:
        return message
    value = config
    for part in found[1].split("."):
        value = value[part]
    return (
        f"--config.{found[1]}={found[2]}: expected {type(value).__name__}, "
        f"such as the config's own {value!r}."
    )


def help_text() -> str:
    """What the command does, its own flags, and where a config is explained."""
    about = sys.modules["__main__"].__doc__ or ""
    lines = [about.strip(), "", "Flags:", ""]
    defined = flags.FLAGS.flags_by_module_dict().get(sys.argv[0], [])
    for flag in defined:
        name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
        default = flag.default
        given = "" if default in (None, False, "", []) else f" ({default})"
        text = textwrap.wrap(f"{flag.help}{given}", WIDTH - 20)
        head = f"  {name:<16}  " if len(name) <= 16 else f"  {name}\n{'':20}"
        lines.append(head + f"\n{'':20}".join(text))
    lines += ["", "--verbosity=1 logs more, --helpfull lists what absl has."]
    if "config" in flags.FLAGS:
        where = f"A comment on every field, and more configs: {own_configs()}"
        lines += textwrap.wrap(where, WIDTH, break_long_words=False)
    return "\n".join(lines)
