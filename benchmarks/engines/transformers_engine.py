"""transformers' `generate`: every turn reads its whole conversation anew.

What clembench, Vision-Zero and STIC do. "one" plays game by game, "batched"
all games at once. Pictures are preprocessed once and before the clock starts.
"""

import dataclasses
import pathlib

import numpy as np
import torch
import work as works
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    GenerationConfig,
    LlavaForConditionalGeneration,
)


class Player:
    """See `load`."""

    def __init__(self, folder: pathlib.Path, work: works.Work, how: str):
        self.work, self.one = work, how == "one"
        gpu = torch.cuda.is_available()
        self.device = torch.device("cuda" if gpu else "cpu")
        self.model = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.bfloat16 if gpu else torch.float32
        )
        self.model = self.model.to(self.device).eval()
        self.processor = CLIPImageProcessorPil.from_pretrained(folder)
        self.settings = GenerationConfig(
            max_new_tokens=work.tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )

    def play(self, pictures: np.ndarray, turns: int, counts: works.Counts):
        """See `worker`."""
        pixels = self.processor(
            [Image.fromarray(x) for x in pictures], return_tensors="pt"
        )["pixel_values"]
        pixels = pixels.to(self.device, self.model.dtype)

        def generate(prompts):
            if not self.one:
                return self._generate(pixels, prompts, counts)
            return [self._generate(pixels, [p], counts)[0] for p in prompts]

        work = dataclasses.replace(self.work, turns=turns)
        return works.play(work, generate)

    @torch.inference_mode()
    def _generate(self, pixels, prompts, counts):
        repeat = {self.work.image_id: self.work.image_tokens}
        rows = [
            [i for i in p.ids for _ in range(repeat.get(i, 1))] for p in prompts
        ]
        ids = torch.tensor(rows, device=self.device)
        numbers = [n for p in prompts for n in p.pictures]
        counts.computed += ids.numel()
        said = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=pixels[numbers],
            generation_config=self.settings,
        )
        return said[:, ids.shape[1] :].tolist()

    def compiles(self) -> int:
        """Programs compiled so far: none ever."""
        return 0


def load(folder: pathlib.Path, work: works.Work, how: str) -> Player:
    """`how` is "one" or "batched"."""
    return Player(folder, work, how)
