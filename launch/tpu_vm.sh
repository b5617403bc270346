#!/usr/bin/env bash
# Installs this checkout on all workers of a Cloud TPU VM and starts a run.
#
#   launch/tpu_vm.sh --name=games --zone=us-central2-b [--project=P] \
#       [--create=v5litepod-16 [--version=RUNTIME]] [--dry-run] -- \
#       --config=configs/scenes.py --workdir=/mnt/shared/scenes
#
# What follows -- goes to `python -m vlm_games.main` on every worker.
# --create makes the TPU VM first; without it, it must exist. --dry-run prints
# the commands and runs none of them. What is sent is the last commit (HEAD).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,10s/^# \{0,1\}//p' launch/tpu_vm.sh >&2; }

die() {
  echo "launch/tpu_vm.sh: $1" >&2
  usage
  exit 2
}

name='' zone='' project='' create='' version='' dry_run=false
while [[ $# -gt 0 ]]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --create=*) create=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --dry-run) dry_run=true ;;
    --help) usage; exit 0 ;;
    --) shift; break ;;
    *) die "unknown argument $1 (flags of the program go after --)" ;;
  esac
  shift
done
[[ -n $name ]] || die "--name is missing"
[[ -n $zone ]] || die "--zone is missing"
[[ $# -gt 0 ]] || die "nothing to run: give the program's flags after --"
[[ -z $version || -n $create ]] || die "--version goes with --create"

# Prints a command in a form that can be pasted, then runs it.
run() {
  printf '%q ' "$@"
  printf '\n'
  if ! $dry_run; then "$@"; fi
}

tpu() {
  local verb=$1
  shift
  run gcloud compute tpus tpu-vm "$verb" "$@" --zone="$zone" \
    ${project:+--project="$project"}
}

if [[ -n $create ]]; then
  tpu create "$name" --accelerator-type="$create" \
    --version="${version:-tpu-ubuntu2204-base}"
fi

archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
run git archive --format=tar.gz --output="$archive" HEAD
tpu scp "$archive" "$name:vlm_games.tar.gz" --worker=all

# %q keeps flags whole through the remote shell: --config.name='a b'.
flags=$(printf '%q ' "$@")
# The package needs Python 3.11; the base images carry 3.10 as python3.
tpu ssh "$name" --worker=all --command="set -e
rm -rf vlm_games && mkdir vlm_games
tar -xzf vlm_games.tar.gz -C vlm_games
command -v python3.11 > /dev/null || {
  sudo apt-get -qq update
  sudo apt-get -qq install python3.11 python3.11-venv
}
python3.11 -m venv venv
venv/bin/pip install --quiet -e './vlm_games[tpu]'"

# All workers start together and wait for each other. setsid and nohup keep
# the run alive when this shell goes.
tpu ssh "$name" --worker=all --command="cd vlm_games
nohup setsid ../venv/bin/python -m vlm_games.main $flags > ../run.log 2>&1 < /dev/null &"

if $dry_run; then exit 0; fi
echo
echo "Started. To follow worker 0:"
tail_log='tail -n 50 -f run.log'
printf 'gcloud compute tpus tpu-vm ssh %q --zone=%q --worker=0 --command=%q\n' \
  "$name" "$zone" "$tail_log"
