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

# read_flags "NAMES" "SWITCHES" ARGUMENT...
# Sets the variable of each --name=value and, to true, of each --switch. What
# follows -- goes to the array `rest`.
read_flags() {
  # No flag may be called as one of these.
  local valued=" $1 " switched=" $2 " flag
  shift 2
  rest=()
  while [[ $# -gt 0 ]]; do
    flag=${1#--} flag=${flag%%=*}
    if [[ $1 == -- ]]; then
      rest=("${@:2}")
      return
    elif [[ $1 == --*=* && $valued == *" $flag "* ]]; then
      printf -v "$flag" %s "${1#*=}"
    elif [[ $1 == "--$flag" && $switched == *" $flag "* ]]; then
      printf -v "$flag" true
    else
      die "unknown argument $1 (flags of the program go after --)"
    fi
    shift
  done
}

# Prints a command in a form that can be pasted, then runs it.
run() {
  printf '%q ' "$@"
  printf '\n'
  if ! ${dry_run:-false}; then "$@"; fi
}
