"""Dialog games on DOCCI, in sets of related photographs.

From https://google.github.io/docci get docci_metadata.jsonlines and
docci_images.tar.gz, and unpack the images beside it, into images/. Then:
  python -m vlm_games.main --config=configs/docci.py --workdir=/tmp/docci \
      --config.images=docci:/data/docci --config.base=llava-hf/llava-1.5-7b-hf

VLM Dialog Games (arXiv 2502.02740) plays on sets of at least four photographs
of one cluster. TFDS has no DOCCI; its owners' files are read as they are.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the scenes config on DOCCI."""
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.images = "docci:data/docci:train"
    c.game.sets = "clusters"
    return c
