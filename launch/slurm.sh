#!/usr/bin/env bash
# sublax on a SLURM cluster, one task a node with all its GPUs; requeued after a preemption.
#
#   sbatch --nodes=2 --gpus-per-node=8 --time=4:00:00 launch/slurm.sh \
#     sublax run --config=configs/numbers_qwen2_5_7b.py --workdir=/shared/runs/qwen
#
# jax finds the other tasks by itself. Two minutes before the time is up, or when the node is
# needed, SLURM tells all tasks; sublax saves and ends with status 75, and the job is queued again.
#SBATCH --job-name=sublax
#SBATCH --ntasks-per-node=1
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sublax-%j.log
set -euo pipefail

if [ $# -eq 0 ]; then
  echo "slurm.sh: give the command, as in: sbatch … launch/slurm.sh sublax run --config=…" >&2
  exit 2
fi

cd "${SLURM_SUBMIT_DIR:-.}"
SUBLAX_COMMIT=$(git rev-parse HEAD 2>/dev/null || echo unknown)
export SUBLAX_COMMIT

status=0
srun --kill-on-bad-exit=0 "$@" || status=$?
if [ "$status" -eq 75 ]; then
  echo "slurm.sh: told to stop; queued again, the same command goes on"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
