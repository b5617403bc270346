#!/usr/bin/env bash
# A run on this machine, in a virtual environment of its own.
#
#   launch/local.sh --config=configs/scenes.py --workdir=/tmp/scenes
#
# Arguments go to `python -m vlm_games.main` as they are. EXTRA=cuda or
# EXTRA=tpu installs for an accelerator; VENV says where the environment lies.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${VENV:-.venv}
if [[ $# -eq 0 ]]; then
  echo "usage: launch/local.sh --config=FILE --workdir=DIR [--flag=value ...]" >&2
  exit 2
fi
if [[ ! -x $venv/bin/python ]]; then
  "${PYTHON:-python3}" -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check \
  -e ".${EXTRA:+[$EXTRA]}"
exec "$venv/bin/python" -m vlm_games.main "$@"
