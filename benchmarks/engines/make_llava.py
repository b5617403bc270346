"""Writes a LLaVA checkpoint of random weights, by transformers.

    python make_llava.py FOLDER {small,mid,7b}

About 18M, 105M and 7B parameters. Special tokens are never the likeliest: their
rows of the head are 0, so that no engine has to be told not to say them.
"""

import pathlib
import re
import sys

import torch
import transformers as tr
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>")
IMAGE = SPECIAL.index("<image>")
# Of tower and decoder: width, layers, heads; then the rest.
SIZES = {
    "small": {
        "vision": (192, 6, 3, 112),
        "text": (384, 8, 6, 2, 1056),
        "words": 4000,
    },
    "mid": {
        "vision": (384, 12, 6, 224),
        "text": (768, 12, 12, 4, 2112),
        "words": 4000,
    },
    "7b": {
        "vision": (1024, 24, 16, 336),
        "text": (4096, 32, 32, 32, 11008),
        "words": 32064,
    },
}
PATCH = 14
CHAT = """<s>{% for message in messages %}{% if message.role == 'user' %}USER: \
{% for part in message.content %}{% if part.type == 'image' %}<image>
{% else %}{{ part.text }}{% endif %}{% endfor %}
{% else %}ASSISTANT: {{ message.content[0].text }}</s>{% endif %}{% endfor %}\
{% if add_generation_prompt %}ASSISTANT:{% endif %}"""


def tokenizer(words: int) -> tr.PreTrainedTokenizerFast:
    """Byte-level BPE with made-up words beyond what its text has."""
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    text = pathlib.Path(__file__).read_text()
    tokens.train_from_iterator(
        text.split("\n"),
        trainers.BpeTrainer(
            vocab_size=words,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    missing = words - tokens.get_vocab_size()
    tokens.add_tokens([f"word{i}" for i in range(missing)])
    return tr.PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
    )


def config(size: str) -> tr.LlavaConfig:
    """The architecture of `size`."""
    width, layers, heads, image = SIZES[size]["vision"]
    vision = tr.CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=image,
        patch_size=PATCH,
    )
    width, layers, heads, kv_heads, hidden = SIZES[size]["text"]
    text = tr.LlamaConfig(
        vocab_size=SIZES[size]["words"],
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=4096,
        bos_token_id=SPECIAL.index("<s>"),
        eos_token_id=SPECIAL.index("</s>"),
        pad_token_id=SPECIAL.index("<pad>"),
    )
    return tr.LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_token_id=IMAGE,
    )


def rename(path: pathlib.Path) -> None:
    """Gives the tower's tensors the names that files on the hub have."""
    new = "vision_tower.vision_model."
    tensors = {
        re.sub(r"^vision_tower\.(?!vision_model)", new, name): tensor
        for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})


def main(folder: str, size: str) -> None:
    """Writes model, tokenizer and processor."""
    torch.manual_seed(0)
    large = size == "7b"
    torch.set_default_dtype(torch.bfloat16 if large else torch.float32)
    model = tr.LlavaForConditionalGeneration(config(size)).eval()
    with torch.no_grad():
        model.lm_head.weight[: len(SPECIAL)] = 0
    model.save_pretrained(folder, max_shard_size="100GB")
    rename(pathlib.Path(folder) / "model.safetensors")
    words = tokenizer(SIZES[size]["words"])
    image = SIZES[size]["vision"][3]
    tr.LlavaProcessor(
        image_processor=tr.CLIPImageProcessorPil(
            size={"shortest_edge": image},
            crop_size={"height": image, "width": image},
        ),
        tokenizer=words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(folder)
    words.save_pretrained(folder)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in SIZES:
        sys.exit(__doc__)
    main(*sys.argv[1:])
