"""Scores a model on a public benchmark, in the owners' files.

Predictions that are there, without a model (JAX is not even imported):

    python -m vlm_games.evaluate --benchmark=vqav2 --predictions=FILE \\
        --annotations=FILE --questions=FILE --output=scores.json

A model's, which are asked for first and written to --predictions:

    python -m vlm_games.evaluate --benchmark=pope --base=DIR_OR_HUB_ID \\
        --annotations=coco_pope_random.json --images=val2014 \\
        --predictions=pope.jsonl --output=scores.json

See docs/benchmarks.md.
"""

import json
import pathlib
import sys

from absl import flags
from tqdm import tqdm

from vlm_games import command_line
from vlm_games.data import atomic
from vlm_games.evaluation.benchmarks import significance
from vlm_games.evaluation.benchmarks.benchmark import (
    Benchmark,
    Files,
    Scores,
    require,
)
from vlm_games.evaluation.benchmarks.registry import BENCHMARKS
from vlm_games.evaluation.benchmarks.runner import (
    check_claim,
    forecast,
    run,
    tell_missing,
)

_BENCHMARK = command_line.required(
    flags.DEFINE_enum("benchmark", None, list(BENCHMARKS), "What to score on.")
)
_PREDICTIONS = command_line.required(
    flags.DEFINE_string(
        "predictions",
        None,
        "What was answered; with --base the file that answers are written to. "
        "Of mm_vet and llava_bench, without --base: the judge's grades.",
    )
)
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "The owners' file.")
_QUESTIONS = flags.DEFINE_string(
    "questions", None, "The owners' questions, where they are another file."
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file of scores to write.")
_AGAINST = flags.DEFINE_string(
    "against", None, "Other predictions, for a paired test with these."
)
_BASE = flags.DEFINE_string(
    "base",
    None,
    "Model to ask: a directory, a hub id, the name of a shipped base, or '' "
    "for the default one. None is asked if this is not given.",
)
_IMAGES = flags.DEFINE_string("images", ".", "Folder of the owners' images.")
_SUBMISSION = flags.DEFINE_string(
    "submission", None, "With --base: file to write for the owners."
)
_BATCH = flags.DEFINE_integer("batch", 16, "Questions asked at a time.", 1)
_TOKENS = flags.DEFINE_integer(
    "tokens", None, "Most of an answer; the benchmark's own if not given.", 1
)
_INSTRUCTION = flags.DEFINE_string(
    "instruction",
    None,
    "What is said behind every question, in place of our own words.",
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "bfloat16", ["bfloat16", "float32"], "Of params and computation."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the order of options (viva).")
_DRY_RUN = command_line.define_dry_run()


def report(name: str, scores: Scores) -> dict:
    """What goes to the file of scores.

    Returns:
      benchmark, items (scored), overall (percent), interval (of it, 95%) and
      what the owners report besides.
    """
    return {
        "benchmark": name,
        "items": len(scores.values),
        "overall": scores.overall,
        "interval": list(significance.bootstrap(scores.values)),
        **scores.details,
    }


def ask(benchmark: Benchmark, files: Files, base: str) -> None:
    """Has a model, as in --base, answer all questions."""
    from vlm_games.respondent import load_respondent  # only now: it imports JAX

    questions = benchmark.questions(files)
    tokens = _TOKENS.value or benchmark.tokens
    asked_with = {
        "benchmark": _BENCHMARK.value,
        "tokens": tokens,
        "instruction": _INSTRUCTION.value,
        "dtype": _DTYPE.value,
        "seed": files.seed,
    }
    # Before the model is loaded, which may take minutes.
    check_claim(_PREDICTIONS.value, asked_with)
    if said := tell_missing(questions, _IMAGES.value):
        raise FileNotFoundError(said)
    respondent = load_respondent(base, _DTYPE.value, _BATCH.value)
    with tqdm(total=len(questions), desc="answers", file=sys.stderr) as bar:
        records = run(
            benchmark,
            questions,
            lambda part: respondent.say(
                part, _IMAGES.value, tokens, _INSTRUCTION.value
            ),
            _PREDICTIONS.value,
            _BATCH.value,
            asked_with | {"model": respondent.digest},
            lambda done, of: bar.update(done - bar.n),
        )
    if _SUBMISSION.value:
        _write(_SUBMISSION.value, benchmark.submission(records, files))


def evaluate() -> dict | None:
    """Does what the flags ask for; returns the report, if there is one."""
    name = _BENCHMARK.value
    benchmark = BENCHMARKS[name]
    files = _files()
    base = _BASE.value
    if base is not None:
        require(files, benchmark.asks, f"Asking {name}")
        ask(benchmark, files, base)
        if benchmark.judged or _lacks(benchmark, files):
            return None
    require(files, benchmark.needs, f"Scoring {name}")
    scores = benchmark.score(files)
    found = report(name, scores)
    if _AGAINST.value:
        others = benchmark.score(
            Files(_AGAINST.value, files.annotations, files.questions)
        )
        found["against"] = others.overall
        found["paired"] = significance.compare(scores.values, others.values)
    return found


def tell() -> int:
    """Prints a dry run; exit status 1 if something is missing."""
    name = _BENCHMARK.value
    benchmark = BENCHMARKS[name]
    files = _files()
    if _BASE.value is None:
        require(files, benchmark.needs, f"Scoring {name}")
        print(f"{name}: the answers of {_PREDICTIONS.value} would be scored.")
        return 0
    require(files, benchmark.asks, f"Asking {name}")
    told, whole = forecast(
        benchmark.questions(files),
        _IMAGES.value,
        _TOKENS.value or benchmark.tokens,
        _PREDICTIONS.value,
    )
    print(f"{name}: {told}")
    return 0 if whole else 1


def _files() -> Files:
    """The files that the flags name.

    Raises:
      FileNotFoundError: one that is to be read is not there.
    """
    read = [_ANNOTATIONS, _QUESTIONS, _AGAINST]
    read += [_PREDICTIONS] if _BASE.value is None else []
    for flag in read:
        if flag.value and not pathlib.Path(flag.value).exists():
            raise FileNotFoundError(
                f"--{flag.name}={flag.value}: there is no such file."
            )
    return Files(
        _PREDICTIONS.value, _ANNOTATIONS.value, _QUESTIONS.value, _SEED.value
    )


def _lacks(benchmark: Benchmark, files: Files) -> bool:
    """Whether a split whose answers nobody published was asked."""
    return not all(getattr(files, flag) for flag in benchmark.needs)


def _write(path: str, content: str) -> None:
    atomic.write_bytes(path, content.encode())


def main() -> int:
    if _DRY_RUN.value:
        return tell()
    found = evaluate()
    if found is None:
        print(f"Answers are in {_PREDICTIONS.value}; they were not scored.")
        return 0
    text = json.dumps(found, indent=2) + "\n"
    if _OUTPUT.value:
        _write(_OUTPUT.value, text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    command_line.run(main, ["benchmark", "predictions"])
