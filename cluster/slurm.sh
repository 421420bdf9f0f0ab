#!/usr/bin/env bash
# Runs any eagleray command on the machines of one Slurm job: Ray's head on the first, workers on the others.
#   sbatch --nodes=2 --gpus-per-node=8 --cpus-per-task=64 --time=24:00:00 cluster/slurm.sh \
#       eagleray run EXPERIMENT.yaml --storage /shared/eagleray
# Storage must be seen by all machines. Slurm sends SIGTERM before it ends the job (--signal): training then writes a
# checkpoint, and the same command goes on from it. Where Slurm takes a machine away it starts the job again (--requeue);
# where only its time is over, EAGLERAY_REQUEUE=1 has the script ask for that.
#SBATCH --job-name=eagleray
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --signal=B:TERM@180
#SBATCH --open-mode=append
#SBATCH --requeue

set -euo pipefail

if (($# == 0)); then
    echo "usage: sbatch [OPTIONS] $0 eagleray VERB EXPERIMENT.yaml [...]" >&2
    exit 2
fi

port=${RAY_PORT:-$((20000 + ${SLURM_JOB_ID:-0} % 20000))}
wait_s=${RAY_WAIT_S:-300}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
# The address that the others reach: that of the route to the second machine where there is one, since the first address of a
# host may be its loopback (Debian's 127.0.1.1) or a network of its own containers.
other=${nodes[1]:-$head}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" bash -c '
    to=$(getent ahostsv4 "$1" | awk "{print \$1; exit}")
    from=$(ip -4 route get "${to:-$1}" 2>/dev/null | sed -n "s/.* src \([0-9.]*\).*/\1/p")
    [[ -n $from && $from != 127.* ]] && echo "$from" && exit
    hostname --all-ip-addresses | tr " " "\n" | grep -vE "^(127|169\.254)\.|:|^$" | head -n 1' _ "$other"):$port
if [[ $address == :* ]]; then
    echo "no address of $head that other machines reach was found" >&2
    exit 1
fi
cpus=${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}
gpus=${SLURM_GPUS_ON_NODE:-0}

export RAY_USAGE_STATS_ENABLED=0
# Whoever reaches Ray's ports runs code as this user: they ask for a token, which only the steps of this job know.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}
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
    --num-cpus="$cpus" --num-gpus="$gpus" --include-dashboard=true --dashboard-host=127.0.0.1 &
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
warned=
trap 'warned=1; kill -TERM "$command" 2>/dev/null || true' TERM INT
status=0
wait "$command" || status=$?
while kill -0 "$command" 2>/dev/null; do # a signal interrupts wait before the command has ended
    status=0
    wait "$command" || status=$?
done
if [[ -n $warned && $status != 0 && -n ${EAGLERAY_REQUEUE:-} ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
