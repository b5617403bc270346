#!/usr/bin/env bash
# A run on this machine, in a virtual environment of its own.
#
#   launch/local.sh --config=configs/scenes.py --workdir=/tmp/scenes
#
# Arguments go to `python -m vlm_games.main` as they are. EXTRA=cuda or
# EXTRA=tpu installs for an accelerator; VENV says where the environment lies.
# PROCESSES=2 starts so many processes that make one run together, as hosts
# would (PORT: of the first, default 12355); each line is marked with its
# number. INSTALL=no takes the environment as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/steps.sh
. launch/steps.sh

venv=${VENV:-.venv} processes=${PROCESSES:-1}
[[ $# -gt 0 ]] || die "give --config=FILE --workdir=DIR [--flag=value ...]"
if [[ ${INSTALL:-yes} == yes ]]; then
  if [[ ! -x $venv/bin/python ]]; then
    "${PYTHON:-python3}" -m venv "$venv"
  fi
  "$venv/bin/pip" install --quiet --disable-pip-version-check \
    -e ".${EXTRA:+[$EXTRA]}"
fi
program=("$venv/bin/python" -m vlm_games.main "$@")
if [[ $processes -eq 1 ]]; then
  exec "${program[@]}"
fi

pids=()
# A notice to this script is one to all.
notices=0
trap 'notices=$((notices + 1)); kill -TERM "${pids[@]}" 2> /dev/null || true' \
  TERM INT
for ((host = 0; host < processes; host++)); do
  "${program[@]}" --hosts="$processes" --host="$host" \
    --coordinator="localhost:${PORT:-12355}" \
    > >(sed -u "s/^/[$host] /") 2>&1 &
  pids+=("$!")
done
status=0
for pid in "${pids[@]}"; do
  # A trapped signal ends a wait with a status that is not the process's; bash
  # keeps that of a process that has ended meanwhile.
  while :; do
    code=0 before=$notices
    wait "$pid" || code=$?
    if [[ $notices -eq $before ]]; then break; fi
  done
  if [[ $status -eq 0 ]]; then status=$code; fi
done
exit "$status"
