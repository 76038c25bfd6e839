#!/bin/bash
# A Slurm job: `sbatch slurm.sh SOURCE OUTPUT`, both on a shared file system or in an object store. After a time limit or
# a lost node, run the same command again to continue.
#SBATCH --job-name=mftn
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
set -euo pipefail
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export RAY_TMPDIR="/tmp/ray-$SLURM_JOB_ID"  # on a local disk of the node
srun --kill-on-bad-exit=0 ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" -- mftn predict "$1" --cluster auto --output "$2"
