"""The run in plain words, made from its figures and nothing else."""

from collections.abc import Mapping

from vlm_games.report import measures


def tell(arms: Mapping[str, list[dict]], own_images: bool = False) -> list[str]:
    """A few sentences: what rose, what did not, and against which control.

    Args:
      own_images: see `measures.taken`.
    """
    base = measures.base_of(arms)
    last = measures.last_of(arms.get(measures.MAIN, []))
    if last is None:
        only = "Only the base is measured" if base else "Nothing is measured"
        return [f"{only} so far: there is nothing to compare yet."]
    if base is None:
        return ["The base model was not measured, so no change can be stated."]
    n = last["iteration"]
    after = f"After {n} iteration{'s' if n != 1 else ''}"
    quality = measures.quality(own_images)
    first, *others = sorted(
        measures.taken(arms, own_images), key=lambda m: m.key != quality.key
    )
    sentences = [f"{after} {_change(first, base, last, leads=True)}."]
    few = measures.too_few(arms) if own_images else ""
    if few:
        sentences.append(f"It was measured on {few}.")
    main = arms[measures.MAIN]
    sentences += _best_before(main, base, last, quality.key)
    sentences += [_capital(f"{_change(m, base, last)}.") for m in others]
    sentences += [
        _against(name, metrics, main, quality)
        for name, metrics in measures.controls_of(arms).items()
    ]
    return sentences + _filter(last)


def _change(
    measure: measures.Measure, base: dict, last: dict, leads: bool = False
) -> str:
    before, after = (measures.figure(row, measure.key) for row in (base, last))
    change = measures.gain(after, before)
    if change is None:
        return f"{measure.phrase} cannot be compared: it was not measured"
    if round(change, 1) == 0:
        return f"{measure.phrase} did not change: it stayed at {after:.1f} %"
    went = f"went from {before:.1f} to {after:.1f} %"
    if change > 0:
        return f"{measure.phrase} {went}, a rise of {_points(change)}"
    but = "did not rise: it " if leads else ""
    return f"{measure.phrase} {but}{went}, a fall of {_points(-change)}"


def _best_before(
    main: list[dict], base: dict, last: dict, key: str
) -> list[str]:
    """Says so when an earlier iteration was better than the last one."""
    scored = [
        (figure, row["iteration"])
        for row in main
        if row is not base and (figure := measures.figure(row, key)) is not None
    ]
    end = measures.figure(last, key)
    if end is None or not scored:
        return []
    best, iteration = max(scored)
    if round(best - end, 1) <= 0:
        return []
    return [
        f"It stood higher at iteration {iteration}, at {best:.1f} %; the "
        "last iteration is reported, not the best."
    ]


def _against(
    name: str,
    control: list[dict],
    main: list[dict],
    quality: measures.Measure,
) -> str:
    """Compares a control with main at the same iteration."""
    end = measures.last_of(control)
    if end is None:
        return f"The control “{name}” has no finished iteration."
    peer = next(
        (row for row in main if row["iteration"] == end["iteration"]), None
    )
    theirs, ours = (measures.figure(row, quality.key) for row in (end, peer))
    ahead = measures.gain(ours, theirs)
    if ahead is None:
        return f"The control “{name}” cannot be compared: figures are missing."
    at = f"at iteration {end['iteration']}"
    if round(ahead, 1) > 0:
        return (
            f"The control “{name}” reached {theirs:.1f} % {quality.short} "
            f"{at}: {_points(ahead)} below main."
        )
    level = (
        f"{_points(-ahead)} above main"
        if round(ahead, 1) < 0
        else "level with main"
    )
    return (
        f"The control “{name}” reached {theirs:.1f} % {quality.short} {at}, "
        f"{level}: against it, this run does not show that the choice helped."
    )


def _filter(last: dict) -> list[str]:
    """What the filter chose in the last iteration, and how true it was."""
    kept, played, true_kept, true_dropped = (
        measures.figure(last, key)
        for key in ("games_kept", "games_played", "truth_kept", "truth_dropped")
    )
    if kept is None or not played:
        return []
    sentence = (
        f"In the last iteration {kept:,.0f} of {played:,.0f} candidates "
        f"({100 * kept / played:.0f} %) were kept for training"
    )
    if true_kept is not None and true_dropped is not None:
        sentence += (
            f"; {true_kept:.1f} % of their answers were true, against "
            f"{true_dropped:.1f} % in those dropped"
        )
    return [sentence + "."]


def _points(change: float) -> str:
    return f"{change:.1f} point{'' if f'{change:.1f}' == '1.0' else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
