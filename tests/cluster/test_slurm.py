"""The Slurm script, run with stand-ins for all commands that write down how they are called."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "cluster" / "slurm.sh"

STANDINS = {
    "scontrol": 'if [[ $1 == requeue ]]; then echo "requeue $2" >>"$CALLS"; exit; fi\n'
    'printf "node%s\\n" 1 2 3',
    # Debian's own name leads to the loopback, which nobody else reaches
    "getent": "exit 2",
    "ip": "exit 1",
    # a step runs its command here; which node it is for stands in --nodelist
    "srun": "for a; do case $a in --nodelist=*) export NODE=${a#*=};; esac; done\n"
    'while [[ $1 == --* ]]; do shift; done\nexec "$@"',
    "hostname": "echo 127.0.1.1 169.254.3.4 fe80::1 10.0.0.1 10.0.0.2",
    "ray": 'echo "$NODE $* ${RAY_AUTH_MODE}:${#RAY_AUTH_TOKEN}" >>"$CALLS"\n'
    'trap \'echo "$NODE ended" >>"$CALLS"; exit 0\' TERM\n'
    "while :; do sleep 0.1; done",
    # how many nodes have joined is asked for: not all at first
    "python": 'echo "joined? $3" >>"$CALLS"\n[[ $(grep -c joined "$CALLS") -ge 2 ]]',
    "sleep": "exec /bin/sleep 0.05",
    "eagleray": 'echo "eagleray $* at $RAY_ADDRESS" >>"$CALLS"\n'
    "trap 'echo stopped >>\"$CALLS\"; exit 130' TERM\n"
    'if [[ $1 == wait ]]; then while :; do sleep 0.1; done; fi\nexit "${STATUS:-0}"',
}


@pytest.fixture
def slurm(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in STANDINS.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / name).chmod(0o755)
    calls = tmp_path / "calls"
    calls.touch()
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NODELIST": "node[1-3]",
        "SLURM_CPUS_PER_TASK": "64",
        "SLURM_GPUS_ON_NODE": "8",
    }

    started = []

    def start(*command, **more):
        process = subprocess.Popen(
            ["bash", str(SCRIPT), *command],
            env={**environment, **more},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    start.calls = lambda: calls.read_text().splitlines()
    yield start
    for process in started:  # whatever a failed test left of its own session
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def run(slurm, *command, **more):
    process = slurm(*command, **more)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


ADDRESS = "10.0.0.1:20077"


def test_a_head_and_workers_run_the_command_and_end_with_it(slurm):
    assert run(slurm, "eagleray", "run", "a b.yaml")[0] == 0
    calls = slurm.calls()
    (head,) = [c for c in calls if "--head" in c]
    assert head.startswith("node1 start ")
    assert "--include-dashboard=true" in head, "else groups that are aborted keep their CPUs"
    assert all(c.endswith(" token:64") for c in calls if " start --" in c)
    assert "--port=20077" in head and "--num-cpus=64 --num-gpus=8" in head
    workers = [c for c in calls if f"start --block --address={ADDRESS}" in c]
    assert sorted(c.split()[0] for c in workers) == ["node2", "node3"]
    assert calls.index(f"eagleray run a b.yaml at {ADDRESS}") > calls.index("joined? 3")
    assert calls.count("joined? 3") == 2, "the command waits until all nodes have joined"
    assert sorted(c for c in calls if c.endswith("ended")) == [f"node{i} ended" for i in (1, 2, 3)]


def test_its_exit_status_is_the_commands(slurm):
    assert run(slurm, "eagleray", "evaluate", STATUS="4")[0] == 4


def test_sigterm_lets_the_command_stop_in_order_before_ray_ends(slurm):
    process = slurm("eagleray", "wait")
    deadline = time.monotonic() + 60
    while not any(c.startswith("eagleray wait") for c in slurm.calls()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    calls = slurm.calls()
    assert calls.index("stopped") < calls.index("node1 ended")


def test_the_address_is_that_of_the_route_to_the_others(slurm, tmp_path):
    (tmp_path / "bin/getent").write_text("#!/usr/bin/env bash\necho 10.9.0.2 STREAM $2\n")
    (tmp_path / "bin/ip").write_text(
        '#!/usr/bin/env bash\necho "asked for ${@: -1}" >>"$CALLS"\n'
        'echo "10.9.0.2 dev ib0 src 10.9.0.1 uid 0"\n'
    )
    assert run(slurm, "eagleray", "run")[0] == 0
    calls = slurm.calls()
    assert "asked for 10.9.0.2" in calls and "eagleray run at 10.9.0.1:20077" in calls


def test_a_head_that_nobody_reaches_is_refused(slurm, tmp_path):
    (tmp_path / "bin/hostname").write_text("#!/usr/bin/env bash\necho 127.0.1.1\n")
    status, err = run(slurm, "eagleray", "run")
    assert status == 1 and "no address of node1" in err


@pytest.mark.parametrize("asked", ["", "1"])
def test_what_time_has_ended_is_put_back_where_asked(slurm, asked):
    process = slurm("eagleray", "wait", EAGLERAY_REQUEUE=asked)
    deadline = time.monotonic() + 60
    while not any(c.startswith("eagleray wait") for c in slurm.calls()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert ("requeue 77" in slurm.calls()) == bool(asked)
    assert "#SBATCH --requeue" in SCRIPT.read_text()


def test_nodes_that_never_join_end_the_job(slurm, tmp_path):
    (tmp_path / "bin/python").write_text("#!/usr/bin/env bash\nexit 1\n")
    status, err = run(slurm, "eagleray", "run", RAY_WAIT_S="0")
    assert status == 1 and "not all of node1 node2 node3 joined" in err
    assert not any(c.startswith("eagleray") for c in slurm.calls())


def test_without_a_command_it_says_how_it_is_used(slurm):
    status, err = run(slurm)
    assert status == 2 and "usage: sbatch" in err and not slurm.calls()
