#!/usr/bin/env bash
# Runs sublax on a Cloud TPU slice: on all its workers, detached, and again after a preemption.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/tpu.sh VERB --name=NAME --zone=ZONE [--project=PROJECT] [options] [-- COMMAND]

  create   --type=v6e-16 [--spot | --reserved] [--version=IMAGE]
           asks for a slice (a queued resource) and waits until it is there
  setup    a Python environment on all workers
  sync     [--allow-dirty]  ships HEAD as one archive to all workers and installs it
  run      [--retries=N] -- COMMAND
           starts COMMAND on all workers, detached. With --retries it stays, tells how it goes, and
           after a preemption makes the slice anew and runs the same command, at most N times
  resume   [--retries=N]  `run` with the command of the last run
  logs     [--worker=I] [--follow]  what a worker has said (0)
  status   of the slice, and of the command on each worker
  stop     tells the command to save and end; sublax then goes on with `resume`
  delete   gives the slice back

example:
  launch/tpu.sh create --name=owl --zone=us-east5-b --type=v6e-16 --spot
  launch/tpu.sh setup --name=owl --zone=us-east5-b
  launch/tpu.sh sync --name=owl --zone=us-east5-b
  launch/tpu.sh run --name=owl --zone=us-east5-b --retries=20 -- \
    sublax run --config=configs/numbers_qwen2_5_7b.py --workdir=gs://bucket/runs/owl

Types are v4-N, v5e-N (v5litepod-N), v5p-N, v6e-N, or any other with --version. The workdir must be
one that all workers share, such as gs://. DRY_RUN=1 prints every command and runs none.
POLL_SECONDS (30) is the pause between two looks at the slice.
TEXT
}

fail() {
  echo "tpu.sh: $*" >&2
  exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
poll=${POLL_SECONDS:-30}
name='' zone='' project='' type='' version='' order='' retries='' worker=0 follow='' dirty=''
command=()
readonly preempted=75

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --name=*) name=${1#*=} ;;
      --zone=*) zone=${1#*=} ;;
      --project=*) project=${1#*=} ;;
      --type=*) type=${1#*=} ;;
      --version=*) version=${1#*=} ;;
      --spot | --reserved) order=$1 ;;
      --retries=*) retries=${1#*=} ;;
      --worker=*) worker=${1#*=} ;;
      --follow) follow=1 ;;
      --allow-dirty) dirty=1 ;;
      --) shift && command=("$@") && break ;;
      *) fail "$1: no such option; \`launch/tpu.sh --help\` shows what there is" ;;
    esac
    shift
  done
  [ -n "$name" ] || fail "give --name, as in --name=owl"
  [ -n "$zone" ] || fail "give --zone, as in --zone=us-east5-b"
  [[ $retries =~ ^[0-9]*$ ]] || fail "--retries=$retries: give a whole number"
  where=(--zone="$zone")
  [ -z "$project" ] || where+=(--project="$project")
}

# Runs a command, or prints it as a shell would take it.
do_() {
  if [ -n "${DRY_RUN:-}" ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

queue() { do_ gcloud compute tpus queued-resources "$@"; }
on_worker() { # WORKER COMMAND
  do_ gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker="$1" --command="$2"
}
job() { on_worker "${2:-all}" "bash ~/sublax-job/on_worker.sh $1"; }

# The slice's state, empty where there is no such slice.
state() {
  [ -z "${DRY_RUN:-}" ] || return 0
  gcloud compute tpus queued-resources describe "$name" "${where[@]}" \
    --format='value(state.state)' 2>/dev/null || true
}

image() { # the runtime that a generation wants
  case $1 in
    v4-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) fail "--type=$1: no runtime is known for it; give --version=IMAGE" ;;
  esac
}

create() {
  [ -n "$type" ] || fail "create: give --type, as in --type=v6e-16"
  type=${type/#v5e-/v5litepod-}
  version=${version:-$(image "$type")}
  case $(state) in
    '') queue create "$name" --node-id="$name" "${where[@]}" --accelerator-type="$type" \
      --runtime-version="$version" ${order:+"$order"} ;;
    SUSPENDED | FAILED) delete && create && return ;;
  esac
  remember type "$type"
  remember version "$version"
  remember order "$order"
  wait_until_active
}

wait_until_active() {
  [ -z "${DRY_RUN:-}" ] || return 0
  local now before=''
  while now=$(state) && [ "$now" != ACTIVE ]; do
    case $now in
      SUSPENDED | FAILED | '')
        fail "$name: ${now:-gone}; \`launch/tpu.sh create\` asks again, in another --zone if need be" ;;
    esac
    [ "$now" = "$before" ] || echo "$name: $now" >&2
    before=$now
    sleep "$poll"
  done
  echo "$name: ACTIVE" >&2
}

setup() {
  do_ gcloud compute tpus tpu-vm scp "$here/on_worker.sh" "$name:" "${where[@]}" --worker=all
  # Whatever the home folder is called, and wherever scp put it: one place from here on.
  on_worker all 'mkdir -p ~/sublax-job && mv -f ~/on_worker.sh ~/sublax-job/'
  job "setup ${PYTHON:-}"
}

sync() {
  local commit archive
  commit=$(git -C "$root" rev-parse HEAD)
  if [ -n "$(git -C "$root" status --porcelain --untracked-files=no)" ] && [ -z "$dirty" ]; then
    fail "uncommitted changes would stay here: commit them, or give --allow-dirty to ship HEAD"
  fi
  archive=$(mktemp -d)/sublax.tar.gz
  do_ git -C "$root" archive --format=tar.gz --output="$archive" HEAD
  do_ gcloud compute tpus tpu-vm scp "$archive" "$name:" "${where[@]}" --worker=all
  job "install $commit"
  rm -rf "$(dirname "$archive")"
}

run() {
  [ ${#command[@]} -gt 0 ] || fail "run: give the command after --, as in -- sublax run --config=…"
  start
  remember command "$(printf '%q ' "${command[@]}")"
  [ -z "$retries" ] || stay
}

resume() {
  local line
  line=$(recall command)
  [ -n "$line" ] || fail "resume: no run of $name is on record here; start one with run"
  eval "command=($line)"
  run
}

start() {
  local quoted
  # Once for the shell that ssh hands it to, and once for the one that runs it there.
  quoted=$(printf '%q ' "${command[@]}")
  job "start $(printf '%q' "$quoted")"
}

# Looks after a run until it ends, and starts it again where it was preempted.
stay() {
  [ -z "${DRY_RUN:-}" ] || return 0
  local left=$retries codes
  while true; do
    sleep "$poll"
    if [ "$(state)" != ACTIVE ]; then
      again "the slice is gone" || return
      continue
    fi
    # One line a worker: running, or its exit status. A worker that does not answer may be on its
    # way out: the next look at the slice says.
    codes=$(job code 2>/dev/null | grep -Eo '^(running|[0-9]+)$' | sort -u | tr '\n' ' ') || continue
    case $codes in
      '0 ') echo "$name: done" >&2 && return 0 ;;
      "$preempted " | "0 $preempted ") again "the run was told to stop" || return ;;
      *running* | '') [[ $codes =~ (^| )([1-9][0-9]*)\  ]] || continue
        # One has ended and the others wait for it: they are told, and save what they can.
        [ "${BASH_REMATCH[2]}" = "$preempted" ] || gone_wrong "${BASH_REMATCH[2]}" ;;
      *) gone_wrong "$codes" ;;
    esac
  done
}

again() {
  if [ "$left" -eq 0 ]; then
    echo "$name: $1, and no retry is left; \`launch/tpu.sh resume\` goes on" >&2
    return $preempted
  fi
  left=$((left - 1))
  echo "$name: $1; starting again, $left retries left" >&2
  if [ "$(state)" != ACTIVE ]; then
    type=$(recall type) version=$(recall version) order=$(recall order)
    delete || true
    create
    setup
    sync
  fi
  start
}

gone_wrong() {
  job stop >/dev/null 2>&1 || true
  job 'log 20' >&2 || true
  echo "$name: the run ended with status $1; mend it and \`launch/tpu.sh resume\`" >&2
  exit 1
}

delete() { queue delete "$name" "${where[@]}" --force --quiet; }

# What a later call needs to know stands beside the code, one file a slice and thing.
remember() {
  [ -z "${DRY_RUN:-}" ] || return 0
  mkdir -p "$root/.launch"
  echo "$2" >"$root/.launch/$name.$1"
}
recall() { cat "$root/.launch/$name.$1" 2>/dev/null || true; }

verb=${1:---help}
shift || true
case $verb in
  -h | --help) usage ;;
  create | setup | sync | run | resume | delete)
    parse "$@"
    "$verb"
    ;;
  logs)
    parse "$@"
    job "log 100 ${follow:+follow}" "$worker"
    ;;
  status)
    parse "$@"
    echo "$name: $(state)"
    job status
    ;;
  stop)
    parse "$@"
    job stop
    ;;
  *) fail "$verb: no such verb; \`launch/tpu.sh --help\` shows what there is" ;;
esac
