"""LLaVA-1.6: Vicuna or Mistral behind CLIP, images in tiles."""

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextProcessor,
    MistralConfig,
)
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from reference import common
from reference.families.llava import TEMPLATE, text, vision

# Images come first, whatever their place in the message.
MISTRAL_TEMPLATE = (
    "{% for m in messages %}"
    "{% set said = m['role'] == 'assistant' %}"
    "{{ ' ' if said else '[INST] ' }}"
    "{% for c in m['content'] if c['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for c in m['content'] if c['type'] == 'text' %}"
    "{{ c['text'] }}{{ '' if said else ' ' }}{% endfor %}"
    "{{ '</s>' if said else '[/INST]' }}{% endfor %}"
)


def build(
    decoder: type,
    text: dict,
    vision: dict,
    grids: list,
    template: str,
    **fields,
):
    """A config and a processor of one shape.

    Args:
      decoder: class of the text's config. text, vision: fields of their
        configs. grids: rows and columns of tiles that an image may have.
      template: of the chat. fields: of LlavaNextConfig.
    """
    tokenizer = common.make_tokenizer(
        ["<s>", "</s>", "<pad>", "<image>"],
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    )
    side, patch = vision["image_size"], vision["patch_size"]
    resolutions = [[rows * side, columns * side] for rows, columns in grids]
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(projection_dim=16, **vision),
        text_config=decoder(
            vocab_size=len(tokenizer) + 6,  # as the true ones', padded
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            **text,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(side // patch) ** 2,
        image_grid_pinpoints=resolutions,
        **fields,
    )
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_grid_pinpoints=resolutions,
    )
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    return config, processor


TRUE_GRIDS = [[1, 2], [2, 1], [2, 2], [3, 1], [1, 3]]

SHAPES = {
    "llava_next": lambda: build(
        LlamaConfig, text(), vision(image_size=14), TRUE_GRIDS, TEMPLATE
    ),
    "llava_next_mistral": lambda: build(
        MistralConfig,
        text(num_key_value_heads=2, sliding_window=None, rope_theta=1e6),
        vision(image_size=21, hidden_size=24, num_hidden_layers=2),
        [[1, 1], [1, 2], [2, 1]],
        MISTRAL_TEMPLATE,
        projector_hidden_act="gelu_pytorch_tanh",
    ),
    # Tiles with pixels left over, and a prompt longer than the window.
    "llava_next_window": lambda: build(
        MistralConfig,
        text(num_key_value_heads=1, head_dim=16, sliding_window=24),
        vision(image_size=16, hidden_size=24, num_attention_heads=2),
        [[1, 3], [2, 2]],
        MISTRAL_TEMPLATE,
        vision_feature_layer=1,
    ),
}
