#!/usr/bin/env bash
# A run on all workers of a Cloud TPU VM: one host, or a slice of a pod.
#
#   launch/tpu_vm.sh VERB --name=games --zone=us-central2-b [--project=P] \
#       [--dry_run] [flags of the verb]
#
#   create  makes the TPU VM: --type=v5litepod-16 [--version=RUNTIME] [--spot]
#   install sends the last commit (HEAD) to all workers and installs it
#   run     starts a run on all of them: -- --config=FILE --workdir=DIR ...
#   follow  shows the log of a worker, as it grows: [--worker=0]
#   delete  deletes the TPU VM
#
# --dry_run prints the commands and runs none of them. What follows -- goes to
# `python -m vlm_games.main` on every worker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/steps.sh
. launch/steps.sh

verb=${1:-} name='' zone='' project='' type='' version='' worker=0
spot=false dry_run=false
[[ $# -eq 0 ]] || shift
read_flags "name zone project type version worker" "spot dry_run" "$@"

tpu() {
  local action=$1
  shift
  run gcloud compute tpus tpu-vm "$action" "$name" "$@" --zone="$zone" \
    ${project:+--project="$project"}
}

on_workers() { tpu ssh --worker="$1" --command="$2"; }

create() {
  [[ -n $type ]] || die "create needs --type, such as --type=v5litepod-16"
  local options=()
  if $spot; then options+=(--spot); fi
  tpu create --accelerator-type="$type" \
    --version="${version:-tpu-ubuntu2204-base}" "${options[@]}"
}

install() {
  local archive
  archive=$(mktemp --suffix=.tar.gz)
  # shellcheck disable=SC2064 # the name of now, not of later
  trap "rm -f '$archive'" EXIT
  run git archive --format=tar.gz --output="$archive" HEAD
  run gcloud compute tpus tpu-vm scp "$archive" "$name:vlm_games.tar.gz" \
    --worker=all --zone="$zone" ${project:+--project="$project"}
  # The package needs Python 3.11; the base images carry 3.10 as python3.
  on_workers all "set -e
rm -rf vlm_games && mkdir vlm_games
tar -xzf vlm_games.tar.gz -C vlm_games
command -v python3.11 > /dev/null || {
  sudo apt-get -qq update
  sudo apt-get -qq install python3.11 python3.11-venv
}
python3.11 -m venv venv
venv/bin/pip install --quiet -e './vlm_games[tpu,gcs]'"
}

start() {
  [[ $# -gt 0 ]] || die "nothing to run: give the program's flags after --"
  local flags
  # %q keeps flags whole through the remote shell: --config.name='a b'.
  flags=$(printf '%q ' "$@")
  # All workers start together and wait for one another. setsid and nohup keep
  # the run alive when this shell goes.
  on_workers all "cd vlm_games
nohup setsid ../venv/bin/python -m vlm_games.main --hosts=auto $flags \
> ../run.log 2>&1 < /dev/null &"
}

case $verb in
  create | install | run | follow | delete) ;;
  '') die "give a verb" ;;
  *) die "unknown verb $verb" ;;
esac
[[ -n $name ]] || die "--name is missing"
[[ -n $zone ]] || die "--zone is missing"
[[ $verb == run || ${#rest[@]} -eq 0 ]] || die "flags after -- go with run"
case $verb in
  create) create ;;
  install) install ;;
  run) start "${rest[@]}" ;;
  follow) on_workers "$worker" 'tail -n 50 -f run.log' ;;
  delete) tpu delete ;;
esac
