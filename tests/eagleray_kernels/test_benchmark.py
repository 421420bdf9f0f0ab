"""The benchmark of the operators runs, compares before it times, and writes what it found."""

import json
import runpy
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch, compiled):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads = torch.get_num_threads()
    yield runpy.run_path(str(BENCHMARKS / "kernels.py"))
    torch.set_num_threads(threads)


def test_a_small_run_writes_every_operator(benchmark, tmp_path, capsys):
    status = benchmark["main"](["--repeats", "1", "--scale", "0.01", "--folder", str(tmp_path)])
    assert status == 0
    record = json.loads((tmp_path / "kernels.json").read_text())
    operators = record["results"]["operators"]
    assert len(operators) == 6
    printed = capsys.readouterr().out
    for timing in operators:
        assert timing["name"] in printed
        assert timing["ratio"] == pytest.approx(
            timing["twin_ms"] / timing["compiled_ms"], abs=0.06 + 0.01 * timing["ratio"]
        )
        assert timing["memory_ns_per_sample"] > 0.0
    assert {"machine", "versions", "commit"} <= set(record)


def test_results_that_differ_are_not_timed(benchmark):
    choices = iter([torch.zeros(3), torch.ones(3)])
    workload = benchmark["Workload"](
        "broken", lambda: (next(choices),), 3, benchmark["Accesses"](), goal=1.0
    )
    with pytest.raises(AssertionError):
        benchmark["check_agreement"](workload)
