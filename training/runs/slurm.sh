#!/usr/bin/env bash
# One recipe on a SLURM cluster: sbatch --nodes 16 training/runs/slurm.sh training/runs/S/pretrain.yaml [--set …] [--out …]
# SLURM's warning (--signal) lets the run write a checkpoint and a file that says that it was told to stop; then the job puts itself into the queue again and
# ends with status 75. Whatever else goes wrong ends it with srun's status: a loss that is not finite would be so again.
#SBATCH --job-name=vavam-train
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=48
#SBATCH --time=20:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
set -uo pipefail
recipe=$1; shift
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
stopped=$PWD/slurm-$SLURM_JOB_ID.stopped  # a file, as torchrun ends with 1 whatever its processes end with; on the file system that the nodes share
rm -f "$stopped"
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=240  # torchrun kills after 30 s, which are short for a checkpoint
srun --kill-on-bad-exit=1 .venv-training/bin/python -m torch.distributed.run \
  --nnodes "$SLURM_NNODES" --nproc-per-node "${GPUS_PER_NODE:-4}" --rdzv-backend c10d --rdzv-endpoint "$head:29500" --rdzv-id "$SLURM_JOB_ID" \
  -m vavam_training.cli.main train "$recipe" "$@" --stopped "$stopped"
status=$?
if [ -f "$stopped" ]; then
  rm -f "$stopped"
  scontrol requeue "$SLURM_JOB_ID"
  exit 75
fi
exit "$status"
