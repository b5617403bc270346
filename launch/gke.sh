#!/usr/bin/env bash
# A run on TPUs of a GKE cluster, through xpk (pip install xpk).
#
#   launch/gke.sh VERB --name=games --cluster=C --zone=Z --project=P \
#       [--dry_run] [flags of the verb]
#
#   create  makes the cluster: --type=v5litepod-16 [--slices=1] [--spot]
#   run     starts a run: --type=v5litepod-16 [--slices=1] [--restarts=10] \
#           [--image=python:3.11] -- --config=FILE --workdir=DIR ...
#   follow  lists the workload, and shows where its log is
#   stop    deletes the workload; what it wrote stays
#   delete  deletes the cluster
#
# --dry_run prints the commands and runs none of them. What follows -- goes to
# `python -m vlm_games.main` on every host.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/steps.sh
. launch/steps.sh

verb=${1:-} name='' cluster='' zone='' project='' type='' slices=1 restarts=10
image=python:3.11 spot=false dry_run=false
[[ $# -eq 0 ]] || shift
read_flags "name cluster zone project type slices restarts image" \
  "spot dry_run" "$@"

xpk() {
  run xpk "$@" --cluster="$cluster" --zone="$zone" --project="$project"
}

create() {
  [[ -n $type ]] || die "create needs --type, such as --type=v5litepod-16"
  local kind=--on-demand
  if $spot; then kind=--spot; fi
  xpk cluster create --tpu-type="$type" --num-slices="$slices" "$kind"
}

start() {
  [[ -n $type ]] || die "run needs --type, such as --type=v5litepod-16"
  [[ $# -gt 0 ]] || die "nothing to run: give the program's flags after --"
  local flags
  flags=$(printf '%q ' "$@")
  # What xpk puts into the image is this folder. A run that was given notice
  # leaves with 75, and so fails: JobSet starts all hosts again, which go on.
  xpk workload create --workload="$name" --tpu-type="$type" \
    --num-slices="$slices" --base-docker-image="$image" --script-dir=. \
    --max-restarts="$restarts" --restart-on-user-code-failure \
    --termination-grace-period-seconds=120 \
    --command="pip install --quiet -e '.[tpu,gcs]' && \
exec python -m vlm_games.main --hosts=auto $flags"
}

case $verb in
  create | run | follow | stop | delete) ;;
  '') die "give a verb" ;;
  *) die "unknown verb $verb" ;;
esac
for field in name cluster zone project; do
  [[ -n ${!field} ]] || die "--$field is missing"
done
[[ $verb == run || ${#rest[@]} -eq 0 ]] || die "flags after -- go with run"
case $verb in
  create) create ;;
  run) start "${rest[@]}" ;;
  follow)
    xpk workload list --filter-by-job="$name"
    run kubectl logs --follow --selector="jobset.sigs.k8s.io/jobset-name=$name"
    ;;
  stop) xpk workload delete --workload="$name" ;;
  delete) xpk cluster delete ;;
esac
