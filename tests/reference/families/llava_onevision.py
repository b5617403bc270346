"""LLaVA-OneVision: Qwen2 behind SigLIP; a single image in tiles."""

from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionProcessor,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision import (
    image_processing_pil_llava_onevision as images_with_pillow,
)

from reference import common
from reference.families.llava import text, vision

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} "
    "{% for c in m['content'] if c['type'] == 'image' %}<image>{% endfor %}"
    "{% for c in m['content'] if c['type'] == 'text' %}\n{{ c['text'] }}"
    "{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(text: dict, vision: dict, grids: list, most: int = 9, **fields):
    """A config and a processor of one shape.

    Args:
      text, vision: fields of their configs.
      grids: rows and columns of tiles that an image may have.
      most: tiles' worth of tokens. fields: of LlavaOnevisionConfig.
    """
    tokenizer = common.make_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    side, patch = vision["image_size"], vision["patch_size"]
    resolutions = [[rows * side, columns * side] for rows, columns in grids]
    ratio = f"anyres_max_{most}"
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            **{"vision_use_head": False, **vision}
        ),
        text_config=Qwen2Config(
            vocab_size=len(tokenizer) + 6,  # as the true ones', padded
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            **text,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=resolutions,
        vision_aspect_ratio=ratio,
        **fields,
    )
    images = images_with_pillow.LlavaOnevisionImageProcessorPil(
        size={"height": side, "width": side},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        image_grid_pinpoints=resolutions,
    )
    processor = common.without_video(LlavaOnevisionProcessor)(
        images,
        tokenizer,
        num_image_tokens=(side // patch) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio=ratio,
        chat_template=TEMPLATE,
    )
    return config, processor


SHAPES = {
    # Tiles with pixels left over, as 384 = 27 * 14 + 6 in the true ones.
    "llava_onevision": lambda: build(
        text(num_key_value_heads=2, rope_theta=1e6),
        vision(image_size=24, num_hidden_layers=2),
        [[1, 1], [2, 2], [3, 1]],
    ),
    "llava_onevision_tied": lambda: build(
        # Narrow and deep, lest a token's own embedding win every time.
        text(tie_word_embeddings=True, hidden_size=24, num_hidden_layers=4),
        vision(image_size=21, hidden_act="gelu_pytorch_tanh"),
        [[1, 3]],
        vision_feature_layer=-2,
    ),
    # More tokens than two tiles have: the image is shrunk.
    "llava_onevision_shrunk": lambda: build(
        text(num_key_value_heads=1),
        vision(image_size=21, num_hidden_layers=2, vision_use_head=True),
        [[1, 1], [2, 3], [3, 3]],
        most=2,
    ),
}
