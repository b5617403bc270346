"""From a config to the things a run works with."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping

import jax
import ml_collections
from ml_collections import ConfigDict

from vlm_games import choices, hosts
from vlm_games.base_model import BaseModel, find_model, load_base
from vlm_games.data import storage
from vlm_games.data.held_out import split
from vlm_games.data.images import ImageSource, RenderedSource, Subset
from vlm_games.data.opening import check_enough, open_source
from vlm_games.data.workdir import Workdir
from vlm_games.evaluation.measure import HeldOut, hold_out
from vlm_games.games.play import Table
from vlm_games.games.protocol import GameSettings
from vlm_games.methods.method import Workbench
from vlm_games.models.mesh import abstract, make_mesh, place, play_mesh
from vlm_games.preemption import Notice
from vlm_games.robot import questions as robot
from vlm_games.robot.facts import Labelled, read_labels
from vlm_games.sampling.engine import Engine
from vlm_games.sampling.scoring import Scorer
from vlm_games.set_maker import SetMaker
from vlm_games.training import checkpoint
from vlm_games.worlds import questions as world

Progress = Callable[[str, int, int], None]  # (what, done, of)


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run's parts.

    Attributes:
      bench: what methods work with.
      base_params: iteration 0, where models play.
      held_out: what models are measured on.
      skipped: files that could not be read as images.
      digests: of base and images: a resumed run must find the same.
    """

    bench: Workbench
    base_params: object
    held_out: HeldOut
    skipped: tuple[str, ...]
    digests: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Run:
    """All that the loop needs.

    Attributes:
      config: ConfigDict. setup: model and images. workdir: where it writes.
      progress: told how far the work is.
      notice: whether the machine is wanted back.
    """

    config: ConfigDict
    setup: Setup
    workdir: Workdir
    progress: Progress
    notice: Notice = dataclasses.field(default_factory=Notice)

    @property
    def bench(self) -> Workbench:
        return self.setup.bench

    def save_params(self, path: pathlib.Path, params) -> None:
        """Writes params; all hosts do so together."""
        checkpoint.save(path, place(self.bench.mesh, params))

    def load_params(self, path: pathlib.Path):
        """Reads what `save_params` wrote to where models play."""
        like = abstract(self.bench.mesh, self.setup.base_params)
        return place(self.bench.engine.mesh, checkpoint.load(path, like))

    @contextlib.contextmanager
    def profiled(self, step: str):
        """Profiles what is done within, if `config.profile` names the step.

        Yields a function: what it is given is waited for, if it is profiled.
        """
        if step not in self.config.profile:
            yield lambda arrays: None
            return
        with (
            storage.filled(self.workdir.root / "profile" / step) as folder,
            jax.profiler.trace(folder),
        ):
            yield jax.block_until_ready


def config_of(workdir: Workdir) -> ml_collections.ConfigDict:
    """The config that a run was started with.

    Raises:
      FileNotFoundError: there is no run.
    """

    def as_given(value):
        if isinstance(value, dict):
            return {name: as_given(v) for name, v in value.items()}
        return tuple(value) if isinstance(value, list) else value

    fields = workdir.config()
    fields.pop("digests", None)
    return ml_collections.ConfigDict(as_given(fields))


def find_iteration(workdir, arm: str, iteration: int | None) -> pathlib.Path:
    """Folder of a finished iteration, the last one if None.

    Raises:
      FileNotFoundError: the run has none such, or its checkpoint is lost.
    """
    name = "iter_*" if iteration is None else f"iter_{iteration:03d}"
    found = sorted(storage.path_of(workdir).glob(f"arms/{arm}/{name}"))
    there = [path for path in found if path.name != "iter_000"]  # the base
    done = [p for p in there if checkpoint.exists(p / "checkpoint")]
    lost = [
        path
        for path in there
        if path not in done and (path / "metrics.json").exists()
    ]
    if lost and max(done + lost) == lost[-1]:
        raise FileNotFoundError(
            f"Iteration {_number(lost[-1])} of arm {arm!r} is there, but its "
            f"checkpoint is damaged or missing: {lost[-1] / 'checkpoint'}. "
            "The run's command makes it again; or take another --iteration."
        )
    if not done:
        number = "" if iteration is None else f" {iteration}"
        raise FileNotFoundError(
            f"{workdir} holds no finished iteration{number} of arm {arm!r}: "
            f"{_finished(workdir)} Take one with --arm and --iteration, or let "
            "the run go on."
        )
    return done[-1]


def _number(folder: pathlib.Path) -> int:
    """Of an iteration, from its folder."""
    return int(folder.name.removeprefix("iter_"))


def _finished(workdir) -> str:
    """The arms that have finished iterations, in words."""
    found: dict[str, list[str]] = {}
    there = storage.path_of(workdir).glob("arms/*/iter_*/checkpoint")
    for path in sorted(there):
        if checkpoint.exists(path):
            number = str(_number(path.parent))
            found.setdefault(path.parents[1].name, []).append(number)
    said = [f"{arm} has {', '.join(done)}" for arm, done in found.items()]
    return f"{'; '.join(said) or 'there is none'}."


def build(config) -> Setup:
    """Loads model and images that `config` names.

    Raises:
      FileNotFoundError, ValueError: saying which field is at fault.
    """
    choices.check(config)
    mesh = make_mesh(fsdp=config.mesh.fsdp, tensor=config.mesh.tensor)
    playing = play_mesh(mesh, config.mesh.play)
    base = load_base(
        config.base,
        config.dtype,
        config.image_size,
        config.prompts,
        playing,
        config.instructions,
    )
    model, tokenizer, prompts = base.model, base.tokenizer, base.prompts
    size = model.vision.image_size
    play, held, skipped = _images(config, size)
    c = config.eval
    engine = Engine(
        model, playing, max(config.encode_images // hosts.count(), 1)
    )
    maker = _set_maker(config, play, engine, base)
    bench = Workbench(
        config=config,
        model=model,
        tokenizer=tokenizer,
        prompts=prompts,
        instructions=base.instructions,
        mesh=mesh,
        engine=engine,
        scorer=Scorer(model, tokenizer, playing, config.score_rows),
        table=Table(
            engine,
            tokenizer,
            prompts,
            settings_here(config.play),
            config.game.images,
        ),
        images=play,
        draw_sets=maker.draw,
        truth=functools.partial(truth, play, _labels(config)),
        faithful=functools.partial(faithful, play),
        stratum=stratum,
        told_truth=told_truth,
    )
    target = RenderedSource(f"target/{c.split}", c.target_images, size)
    source = RenderedSource(f"source/{c.split}", c.source_images, size)
    held_out = hold_out(
        held if held is not None else target,
        target,
        source,
        c,
        config.game.images,
    )
    digests = {"base": base.digest, "images": play.digest()}
    return Setup(bench, base.params, held_out, tuple(skipped), digests)


def _labels(config) -> Mapping[str, Labelled]:
    """What is known of the frames of a robot that are played on."""
    known = config.images.endswith((".jsonl", ".jsonlines"))
    return read_labels(config.images) if config.eval.robot and known else {}


def settings_here(play) -> GameSettings:
    """How games are played; of the slots those of this host.

    Raises:
      ValueError: they do not split over the hosts.
    """
    if play.slots % hosts.count():
        raise ValueError(
            f"config.play.slots={play.slots} games at once do not split over "
            f"{hosts.count()} hosts: take a multiple of their number."
        )
    settings = GameSettings(**play)
    slots = settings.slots // hosts.count()
    return dataclasses.replace(settings, slots=slots)


def _set_maker(config, images, engine, base: BaseModel) -> SetMaker:
    """Draws the sets of games; what cannot be drawn is told before all else."""
    maker = SetMaker(config, images, engine, base.params, base.digest)
    if config.method == "dialog_games" and config.iterations:
        maker.draw(1, 0, 1)
    return maker


def open_images(config) -> ImageSource:
    """The images that a run plays on, at its model's size; loads no weights.

    Raises:
      FileNotFoundError, ValueError: saying which field is at fault.
    """
    model = find_model(config.base, config.image_size)
    return _images(config, model.vision.image_size)[0]


def _images(config, size: int):
    """(images to play on, held-out ones or None, skipped)."""
    if not config.images:
        play = RenderedSource("target/play", config.play_images, size)
        return play, None, []
    source, skipped = open_source(config, size)
    check_enough(config, len(source))
    others, held = split(source.groups.units, config.game.images)
    subsets = (Subset(source, tuple(x.tolist())) for x in (others, held))
    return *subsets, skipped


def told_truth(situation: str, question: str, answer: str) -> bool | None:
    """Whether the answer is right of the shipped world's situation in words."""
    asked = world.BY_TEXT.get(" ".join(question.split()))
    scene = world.read_caption(situation)
    if asked is None or scene is None:
        return None
    return answer in world.answers(asked, scene)


def truth(
    images: ImageSource,
    labels: Mapping[str, Labelled],
    image: int,
    question: str,
    answer: str,
) -> bool | None:
    """Whether an answer is true of an image; None where nobody knows."""
    frame = labels.get(images.names[image])
    if frame is not None:
        of_task = {q.text: q for q in robot.QUESTIONS[frame.task]}
        if question not in of_task:
            return None
        return answer in robot.answers(of_task[question], frame.facts)
    asked = world.BY_TEXT.get(question)
    if asked is None or not isinstance(images, RenderedSource):
        return None
    return answer in world.answers(asked, images.scenes[image])


def faithful(
    images: ImageSource, image: int, description: str
) -> tuple[int, int] | None:
    """(true things, things) that are said of an image, if anybody knows."""
    if not isinstance(images, RenderedSource):
        return None
    truths = world.phrase_truths(description, images.scenes[image])
    return sum(truths), len(truths)


def stratum(question: str, answer: str) -> str:
    """Question kind and answer, "kind/answer"."""
    asked = world.BY_TEXT.get(question) or robot.BY_TEXT.get(question)
    kind = asked.kind if asked is not None else question.partition(" ")[0]
    return f"{kind}/{answer}"
