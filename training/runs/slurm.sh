#!/usr/bin/env bash
# One recipe on a SLURM cluster: sbatch --nodes 16 training/runs/slurm.sh training/runs/S/pretrain.yaml [--set …]
# SLURM's warning (--signal) lets each process write a checkpoint; status 75 says that it goes on, and the job puts itself into the queue again.
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
srun --kill-on-bad-exit=1 .venv-training/bin/python -m torch.distributed.run \
  --nnodes "$SLURM_NNODES" --nproc-per-node "${GPUS_PER_NODE:-4}" --rdzv-backend c10d --rdzv-endpoint "$head:29500" --rdzv-id "$SLURM_JOB_ID" \
  -m vavam_training.cli.main train "$recipe" "$@"
status=$?
if [ "$status" -ne 0 ] && [ -f "$(.venv-training/bin/python -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["out"])' "$recipe")/latest" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
