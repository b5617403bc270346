"""Idefics3 and SmolVLM: tiles with text around them, and images in one."""

from transformers import (
    Idefics3Config,
    Idefics3Processor,
    LlamaConfig,
    SmolVLMConfig,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import (
    Idefics3ImageProcessorPil,
)
from transformers.models.smolvlm.image_processing_pil_smolvlm import (
    SmolVLMImageProcessorPil,
)

from reference import common

TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}"
    "{% if m['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}"
    "{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
SPECIAL = ["<|im_start|>", "<end_of_utterance>", "<|im_end|>"]
IMAGE = ["<fake_token_around_image>", "<image>", "<global-img>"]
TILES = [f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2)]


class SmolVLMProcessor(Idefics3Processor):
    """Stands for the one of that name, whose prompts are the same.

    That one cannot be made without torchvision and num2words.
    """


def build(text: dict, vision: dict, images: dict, smol: bool, **fields):
    """A config and a processor of one shape.

    Args:
      text, vision: fields of their configs.
      images: of the image processor; "side" is that of a tile.
      smol: SmolVLM instead of Idefics3. fields: of the config.
    """
    tokenizer = common.make_tokenizer(
        [*SPECIAL, *IMAGE, *TILES],
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
    )
    scale = fields["scale_factor"]
    config = (SmolVLMConfig if smol else Idefics3Config)(
        vision_config=vision,
        text_config=LlamaConfig(
            vocab_size=len(tokenizer) + 3,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **text,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        **fields,
    )
    side = images.pop("side")
    kind = SmolVLMImageProcessorPil if smol else Idefics3ImageProcessorPil
    processor = (SmolVLMProcessor if smol else Idefics3Processor)(
        kind(max_image_size={"longest_edge": side}, **images),
        tokenizer,
        image_seq_len=(side // vision["patch_size"] // scale) ** 2,
        chat_template=TEMPLATE,
    )
    return config, processor


def text(**changes) -> dict:
    """Fields of a small decoder."""
    return {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        **changes,
    }


def vision(**changes) -> dict:
    """Fields of a small tower."""
    return {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 12,
        "patch_size": 3,
        **changes,
    }


SHAPES = {
    # As Idefics3: an image is up to 2 x 2 tiles, and itself.
    "idefics3": lambda: build(
        text(),
        vision(),
        {"side": 12, "size": {"longest_edge": 24}},
        smol=False,
        scale_factor=2,
    ),
    # As SmolVLM: one tile, whose last pixels fill no patch; a tied head.
    "smolvlm": lambda: build(
        text(num_hidden_layers=3, rope_theta=1e5, tie_word_embeddings=True),
        vision(image_size=20, num_hidden_layers=3, layer_norm_eps=1e-5),
        {"side": 20, "do_image_splitting": False},
        smol=True,
        scale_factor=3,
        tie_word_embeddings=True,
    ),
    # Tiles smaller than the table of positions, which they spread over.
    "smolvlm_small_tiles": lambda: build(
        text(num_key_value_heads=4, head_dim=16, attention_bias=True),
        vision(image_size=18, hidden_act="gelu"),
        {"side": 12, "size": {"longest_edge": 24}},
        smol=True,
        scale_factor=2,
    ),
}
