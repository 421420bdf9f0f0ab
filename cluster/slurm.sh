#!/usr/bin/env bash
# Runs any eagleray command on the machines of one Slurm job: Ray's head on the first, workers on the others.
#   sbatch --nodes=2 --gpus-per-node=8 --cpus-per-task=64 --time=24:00:00 cluster/slurm.sh \
#       eagleray run EXPERIMENT.yaml --storage /shared/eagleray
# Storage must be seen by all machines. Slurm sends SIGTERM before it ends the job (--signal): training then writes a
# checkpoint, and the same command goes on from it.
#SBATCH --job-name=eagleray
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --signal=B:TERM@180
#SBATCH --open-mode=append

set -euo pipefail

if (($# == 0)); then
    echo "usage: sbatch [OPTIONS] $0 eagleray VERB EXPERIMENT.yaml [...]" >&2
    exit 2
fi

port=${RAY_PORT:-$((20000 + ${SLURM_JOB_ID:-0} % 20000))}
wait_s=${RAY_WAIT_S:-300}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}'):$port
cpus=${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}
gpus=${SLURM_GPUS_ON_NODE:-0}

export RAY_USAGE_STATS_ENABLED=0
steps=()

stop_ray() {
    for step in "${steps[@]}"; do
        kill -TERM "$step" 2>/dev/null || true
    done
    wait "${steps[@]}" 2>/dev/null || true
}
trap stop_ray EXIT

on_node() { # NODE COMMAND...: becomes a step on one node with all of its CPUs and GPUs; run it with &
    local node=$1
    shift
    exec srun --overlap --nodes=1 --ntasks=1 --nodelist="$node" --cpus-per-task="$cpus" "$@"
}

on_node "$head" ray start --head --block --port="$port" --node-ip-address="${address%:*}" \
    --num-cpus="$cpus" --num-gpus="$gpus" --include-dashboard=false &
steps+=($!)
for node in "${nodes[@]:1}"; do
    on_node "$node" ray start --block --address="$address" --num-cpus="$cpus" --num-gpus="$gpus" &
    steps+=($!)
done

export RAY_ADDRESS=$address
joined='import ray, sys; ray.init(logging_level="ERROR")
sys.exit(sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[1]))'
end=$((SECONDS + wait_s))
until python -c "$joined" "${#nodes[@]}" >/dev/null 2>&1; do
    if ((SECONDS >= end)); then
        echo "not all of ${nodes[*]} joined Ray at $address within $wait_s s" >&2
        exit 1
    fi
    sleep 2
done

# This script, and so the command, runs on the first machine. SIGTERM goes on to the command, which stops in order.
"$@" &
command=$!
trap 'kill -TERM "$command" 2>/dev/null || true' TERM INT
status=0
wait "$command" || status=$?
while kill -0 "$command" 2>/dev/null; do # a signal interrupts wait before the command has ended
    status=0
    wait "$command" || status=$?
done
exit "$status"
