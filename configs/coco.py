"""STIC on the photographs of COCO that it is published with.

Where TensorFlow is installed, once:
  tfds build coco/2014 --file_format=array_record \
      --data_dir=~/tensorflow_datasets
Then, without it:
  python -m vlm_games.main --config=configs/coco.py --workdir=/tmp/coco

STIC (arXiv 2405.19716) describes 6,000 photographs of train2014; which of them
is not published. TFDS keeps the split shuffled, so these are drawn at random.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the config of STIC on COCO."""
    stic = pathlib.Path(__file__).with_name("stic.py")
    c = runpy.run_path(str(stic))["get_config"]()
    # A fifth is held out for games, so that 6,000 are left to describe.
    c.images = "tfds:coco/2014:train[:7500]"
    c.stic.images = 6_000
    return c
