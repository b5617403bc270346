"""Dialog games on photographs of Open Images, in sets of similar ones.

Where TensorFlow is installed, once (all of Open Images is downloaded):
  tfds build open_images_v4/200k --file_format=array_record \
      --data_dir=~/tensorflow_datasets
Then, without it:
  python -m vlm_games.main --config=configs/open_images.py --workdir=/tmp/oi \
      --config.base=llava-hf/llava-1.5-7b-hf

VLM Dialog Games (arXiv 2502.02740) plays on sets of similar photographs of Open
Images. Which of them, how many, and by which embedding is not published.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the scenes config on Open Images."""
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    # Photographs of 200,000 pixels each: larger ones would be made smaller.
    c.images = "tfds:open_images_v4/200k:train[:100000]"
    c.game.sets = "similar"
    return c
