"""vLLM with prefix caching: a chat's history is had from its cache.

Runs in vLLM's own environment; see docs/performance.md.
"""

import dataclasses
import pathlib

import numpy as np
import work as works
from PIL import Image


class Player:
    """See `load`."""

    def __init__(self, folder: pathlib.Path, work: works.Work):
        import torch
        from vllm import LLM, SamplingParams

        self.work, gpu = work, torch.cuda.is_available()
        self.settings = SamplingParams(
            max_tokens=work.tokens,
            temperature=0,
            ignore_eos=True,
            detokenize=False,
        )
        self.model = LLM(
            model=str(folder),
            dtype="bfloat16" if gpu else "float32",
            max_model_len=work.longest,
            max_num_seqs=work.games,
            limit_mm_per_prompt={"image": work.images},
            enable_prefix_caching=True,
            enforce_eager=not gpu,
        )

    def play(self, pictures: np.ndarray, turns: int, counts: works.Counts):
        """See `worker`."""
        images = [Image.fromarray(x) for x in pictures]

        def generate(prompts):
            found = self.model.generate(
                [
                    {
                        "prompt_token_ids": p.ids,
                        "multi_modal_data": {
                            "image": [images[n] for n in p.pictures]
                        },
                    }
                    for p in prompts
                ],
                self.settings,
                use_tqdm=False,
            )
            for one in found:
                read = len(one.prompt_token_ids) - one.num_cached_tokens
                counts.computed += read
            return [list(one.outputs[0].token_ids) for one in found]

        work = dataclasses.replace(self.work, turns=turns)
        return works.play(work, generate)

    def compiles(self) -> int:
        """Programs compiled so far, by its own count: it gives none."""
        return 0


def load(folder: pathlib.Path, work: works.Work, how: str) -> Player:
    """`how` is not used."""
    del how
    return Player(folder, work)
