"""A few inputs of every kind that soak/fuzz.py tries by the thousand."""

import pathlib
import sys

import pytest

pytest.importorskip("hypothesis", reason="pip install 'vlm_games[test]'")
sys.path.append(str(pathlib.Path(__file__).parent / "soak"))

import fuzz  # noqa: E402


@pytest.mark.filterwarnings("ignore")  # Pillow's, of files it half reads
@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_what_nobody_meant_is_refused_in_the_parsers_own_way(name):
    assert fuzz.try_inputs(name, 5 if name == "report" else 25) > 1


def test_a_parser_that_lets_anything_through_is_found(monkeypatch):
    monkeypatch.setitem(
        fuzz.TARGETS, "moves", (fuzz.SAID, lambda text: int(text))
    )
    with pytest.raises(ValueError, match="invalid literal"):
        fuzz.try_inputs("moves", 25)
