# shellcheck shell=bash
# What the launchers share; sourced by them, with `dry_run` true or false.

# The lines of the calling script's head, as help.
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p;}' "$0" >&2; }

die() {
  echo "${0##*/}: $1" >&2
  echo >&2
  usage
  exit 2
}

# Prints a command in a form that can be pasted, then runs it.
run() {
  printf '%q ' "$@"
  printf '\n'
  if ! ${dry_run:-false}; then "$@"; fi
}
