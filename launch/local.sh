#!/usr/bin/env bash
# Runs a command as N processes on this machine that find each other; to try what a slice does.
set -euo pipefail

if [ $# -lt 2 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
  cat >&2 <<'TEXT'
usage: launch/local.sh N COMMAND...
example: launch/local.sh 2 sublax run --config=configs/tiny.py --workdir=runs/two
Each process gets JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID. A SIGTERM goes to
all; the exit status is the first that is not 0.
TEXT
  exit 2
fi

count=$1
shift
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$count

processes=()
for index in $(seq 0 $((count - 1))); do
  JAX_PROCESS_ID=$index "$@" &
  processes+=($!)
done
told=''
trap 'told=1; kill -TERM "${processes[@]}" 2>/dev/null || true' TERM INT

status=0
for process in "${processes[@]}"; do
  # A signal ends `wait` before the process has ended: then it is asked again.
  while true; do
    told='' code=0
    wait "$process" || code=$?
    [ -n "$told" ] || break
  done
  if [ "$status" -eq 0 ] && [ "$code" -ne 0 ]; then
    status=$code
    # The others would wait for it. Told to stop, they save where they can.
    kill -TERM "${processes[@]}" 2>/dev/null || true
  fi
done
exit "$status"
