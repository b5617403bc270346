"""LLaVA-1.5: Vicuna behind CLIP, the tokens of one square an image."""

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import (
    CLIPImageProcessorPil,
)

from reference import common

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] | upper }}: "
    "{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }} "
    "{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def build(text: dict, vision: dict, **fields):
    """A config and a processor of one shape.

    Args:
      text, vision: fields of their configs. fields: of LlavaConfig.
    """
    tokenizer = common.make_tokenizer(
        ["<s>", "</s>", "<pad>", "<image>"],
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    )
    side, patch = vision["image_size"], vision["patch_size"]
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(projection_dim=16, **vision),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer) + 6,  # as Vicuna's, padded
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            **text,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(side // patch) ** 2,
        **fields,
    )
    images = CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
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
        "num_key_value_heads": 4,
        **changes,
    }


def vision(**changes) -> dict:
    """Fields of a small tower."""
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
        **changes,
    }


SHAPES = {
    "llava": lambda: build(text(), vision()),
    "llava_grouped": lambda: build(
        text(num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5),
        vision(patch_size=14, num_hidden_layers=4),
    ),
    "llava_last_layer": lambda: build(
        text(num_hidden_layers=3, rope_theta=5e5),
        vision(hidden_size=24, num_attention_heads=2),
        vision_feature_layer=-1,
        projector_hidden_act="gelu_pytorch_tanh",
    ),
}
