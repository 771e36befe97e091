#!/usr/bin/env bash
# What tpu.sh has done on each worker: one command at a time, detached, with a log and a status.
set -euo pipefail

job=~/sublax-job
preempted=75

fail() {
  echo "$(hostname): $*" >&2
  exit 2
}

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

# Whether a process of the command's group lives; one that nobody has buried yet does not.
running() {
  [ -s "$job/pid" ] && ps -eo pgid=,stat= | awk -v group="$(cat "$job/pid")" \
    '$1 == group && $2 !~ /^Z/ { found = 1 } END { exit !found }'
}

setup() { # [PYTHON]
  local python=${1:-}
  mkdir -p "$job"
  if [ -z "$python" ]; then
    python=$(command -v python3.12 || command -v python3.11 || true)
  fi
  if [ -z "$python" ]; then
    # A fresh VM updates itself and holds the lock for minutes.
    as_root apt-get -o DPkg::Lock::Timeout=600 update -qq
    as_root apt-get -o DPkg::Lock::Timeout=600 install -qq -y python3.11 python3.11-venv
    python=$(command -v python3.11)
  fi
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python: sublax needs Python 3.11 or newer; name one with PYTHON=…"
  [ -x "$job/env/bin/python" ] || "$python" -m venv "$job/env"
}

install() { # COMMIT
  [ -x "$job/env/bin/python" ] || fail "no environment yet: \`launch/tpu.sh setup\` makes it"
  rm -rf "$job/code.new"
  mkdir "$job/code.new"
  tar -xzf ~/sublax.tar.gz -C "$job/code.new"
  rm -rf "$job/code" ~/sublax.tar.gz
  mv "$job/code.new" "$job/code"
  echo "$1" >"$job/commit"
  cp "$job/code/launch/on_worker.sh" "$job/on_worker.sh"
  # INSTALL is for those who bring an environment that has all that sublax needs.
  ${INSTALL:-"$job/env/bin/pip" install -q -e "$job/code[tpu,gcs]"}
}

# libtpu keeps others off the chips by a file that outlives a killed process. It is removed where
# nobody holds the chips, and only there.
clear_lockfile() {
  local file=/tmp/libtpu_lockfile device holder
  [ -e "$file" ] || return 0
  if ! command -v fuser >/dev/null; then
    echo "$(hostname): $file is there, and without fuser (psmisc) nobody can say whose it is" >&2
    return
  fi
  for device in /dev/accel* /dev/vfio/[0-9]*; do
    [ -e "$device" ] || continue
    holder=$(as_root fuser "$device" 2>/dev/null | tr -s ' ' | sed 's/^ //') || true
    [ -z "$holder" ] || fail "the TPU is in use by process $holder; end it first"
  done
  as_root rm -f "$file"
}

start() { # COMMAND
  [ -e "$job/commit" ] || fail "no code yet: \`launch/tpu.sh sync\` ships it"
  ! running || fail "a run is under way already; \`launch/tpu.sh stop\` ends it"
  clear_lockfile
  rm -f "$job/exit"
  echo "== $(date -u +%FT%TZ) $(cat "$job/commit")" >>"$job/log"
  (
    cd "$job/code"
    # A session of its own: it outlives this connection, and its group can be told to stop. The
    # shell lets the command end first, so that there is a status to note.
    PATH=$job/env/bin:$PATH SUBLAX_COMMIT=$(cat "$job/commit") \
      JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$job/programs} \
      setsid bash -c "trap : TERM; $1; echo \$? >$job/exit.new; mv $job/exit.new $job/exit" \
      </dev/null >>"$job/log" 2>&1 &
    echo $! >"$job/pid"
  )
}

stop() { # tells all of the group, and insists after a while
  running || return 0
  local group
  group=$(cat "$job/pid")
  kill -TERM -- "-$group"
  for _ in $(seq "${STOP_SECONDS:-120}"); do
    running || return 0
    sleep 1
  done
  kill -KILL -- "-$group" 2>/dev/null || true
  while running; do sleep 0.2; done
  echo $preempted >"$job/exit"
}

code() {
  if running; then echo running; elif [ -s "$job/exit" ]; then cat "$job/exit"; else echo 255; fi
}

status() {
  local commit=none
  [ ! -e "$job/commit" ] || commit=$(cut -c1-12 "$job/commit")
  echo "$(hostname): $(code | sed 's/^\([0-9]\)/ended with status \1/'), code $commit"
}

log() { # LINES [follow]
  tail -n "$1" ${2:+-f} "$job/log"
}

"$@"
