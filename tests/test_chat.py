"""Chat templates taken apart, and games said within them."""

import dataclasses
import shutil

import numpy as np
import pytest
from reference import common

from vlm_games.base_model import load_base
from vlm_games.data.examples import IMAGE
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.chat_prompts import chat_prompts
from vlm_games.games.layout import handover
from vlm_games.games.prompts import parse_move
from vlm_games.hub import chat, processors
from vlm_games.hub.family import find_family
from vlm_games.hub.pretrained import load_pretrained
from vlm_games.models import vlm
from vlm_games.models.mesh import make_mesh
from vlm_games.sampling.handover import hand_over
from vlm_games.sampling.session import Words

NAMES = sorted(p.name for p in common.FOLDER.iterdir())


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A processor, its family, and its template in parts."""

    processor: object
    family: object
    parts: chat.Chat

    def ids(self, text: str) -> list[int]:
        return self.processor.tokenizer.encode(text, add_special_tokens=False)

    def rendered(self, *messages) -> str:
        return self.processor.apply_chat_template(
            list(messages), add_generation_prompt=True
        )


@pytest.fixture(scope="module", params=NAMES)
def spoken(request):
    folder = common.FOLDER / request.param
    fields = processors.load_config(folder)
    family = find_family(fields)
    processor = processors.load_processor(folder, fields, family.processor)
    return Spoken(processor, family, chat.take_apart(processor))


def say(role, words):
    return {"role": role, "content": [{"type": "text", "text": words}]}


def test_the_parts_make_the_template(spoken):
    p = spoken.parts
    asked = f"{p.start}how many ?{p.reply}"
    assert spoken.rendered(say("user", "how many ?")) == asked
    talk = spoken.rendered(
        say("user", "how many ?"),
        say("assistant", "two"),
        say("user", "where ?"),
    )
    before, after = talk.split("two")
    # Some write a past answer otherwise than they ask for a new one.
    assert before == asked + p.lead or not p.lead
    # A template that writes no end token leaves that out.
    rest = f"{p.again}where ?{p.reply}"
    assert after in (p.end + rest, rest)


def test_an_image_stands_as_the_processor_puts_it(spoken):
    """Up to the end of the image; one that is cut into tiles stands apart."""
    if getattr(spoken.processor.image_processor, "do_image_splitting", False):
        pytest.skip("cut into tiles, with text between")
    found = spoken.processor.apply_chat_template(
        common.user(common.draw_image(56, 56, 5), "how many ?"),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    tokens = np.array(found["input_ids"][0])
    text = spoken.parts.see + spoken.family.image_text
    before, after = (spoken.ids(x) for x in text.split(IMAGE))
    image = tokens[len(before)]
    count = int((tokens == image).sum())
    assert tokens[: len(before)].tolist() == before
    assert (tokens[len(before) : len(before) + count] == image).all()
    rest = tokens[len(before) + count :]
    assert rest[: len(after)].tolist() == after


def test_moves_said_in_the_prompts_words_are_read(spoken):
    p = spoken.parts
    image = spoken.family.image_text
    prompts = chat_prompts(**dataclasses.asdict(p), image=image)
    for move, question, guess in [
        (f"{prompts.ask} is it red?", "is it red?", None),
        (f"{prompts.guess} 2", None, 1),
    ]:
        text = prompts.speak("it is big", move).removesuffix(prompts.end)
        found = parse_move(prompts, text, 3, must_guess=guess is not None)
        assert found.fault is None
        assert found.summary == "it is big"
        assert (found.question, found.guess) == (question, guess)
    opening = prompts.open_game(3, "any") + prompts.next_cue(False)
    assert opening.startswith(p.start)
    assert opening.endswith(p.reply)
    assert opening.count(IMAGE) == 3
    assert prompts.hear("red", True).startswith(p.again)


def test_a_question_is_handed_over_as_it_would_be_written(spoken):
    prompts = chat_prompts(
        **dataclasses.asdict(spoken.parts), image=spoken.family.image_text
    )
    hf = spoken.processor.tokenizer
    image_id = hf.convert_tokens_to_ids(IMAGE)
    tokenizer = Tokenizer(hf, image_id, 0, hf.eos_token_id, 0)
    how = handover(tokenizer, prompts, cut=True)
    words = spoken.ids(prompts.speak("it is big", f"{prompts.ask} is it red?"))
    end = len(words) - len(spoken.ids(prompts.end))
    said = Words(
        np.array([words[:end]]), np.array([end]), np.array([False]), np.zeros(1)
    )
    found = hand_over(said, np.array([True]), how)
    ids, lengths = found.ids
    written = spoken.ids(prompts.question_only("is it red?"))
    assert ids[0, : lengths[0]].tolist() == written


def test_braces_in_a_template_are_kept():
    prompts = chat_prompts(
        "{user} ", "{user}", " {model}", "", "</s>", " {", "[<image>]"
    )
    assert prompts.ask_describer("how many ?").startswith("{user}[<image>]")
    assert prompts.hear("red", False).startswith(" {The answer is: red.")


# A public checkpoint as the base of a run -------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("llava")
    shutil.copytree(common.FOLDER / "llava", place, dirs_exist_ok=True)
    common.write_weights(place)
    return place


def test_a_public_checkpoint_is_a_base(folder):
    base = load_base(str(folder), "bfloat16", 0, {"ask": "Ask:"}, make_mesh())
    assert base.params["embed"]["embedding"].dtype == "bfloat16"
    assert base.prompts.ask == "Ask:"
    ids = base.tokenizer.encode(base.prompts.describer_trunk())
    assert ids.count(base.model.image_token_id) == 1
    assert base.tokenizer.encode(base.prompts.end) == (base.tokenizer.eos_id,)
    again = load_base(str(folder), "float32", 0, {}, make_mesh())
    assert again.digest == base.digest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("llava", 28), ("gemma3", 28), ("qwen2_vl", 48)]
)
def test_a_base_sees_an_image_as_its_processor_shows_it(name, size, tmp_path):
    place = tmp_path / name
    shutil.copytree(common.FOLDER / name, place)
    common.write_weights(place)
    image = common.draw_image(size, size, 5)
    found = load_pretrained(place, dtype="float32")
    prompt = found.reader.read(common.user(image, "how many ?"))
    base = load_base(str(place), "float32", size, {}, make_mesh())
    seen = vlm.encode_images(base.model, base.params, np.asarray(image)[None])
    np.testing.assert_allclose(
        np.asarray(found.image_tokens([prompt]))[: seen.shape[1]],
        seen[0],
        atol=1e-5,
    )


def test_a_size_that_the_tower_cannot_see_is_an_error(folder):
    with pytest.raises(ValueError, match="28 x 28 pixels only"):
        load_base(str(folder), "float32", 56, {}, make_mesh())
