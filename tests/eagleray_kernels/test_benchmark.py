"""The benchmarks of the operators run, compare before they time, and write what they found."""

import json
import runpy
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"


@pytest.fixture
def run(monkeypatch, compiled):
    """Runs a file of the benchmarks and gives what it defines."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads = torch.get_num_threads()
    yield lambda name: runpy.run_path(str(BENCHMARKS / f"{name}.py"))
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "number"), [("kernels", 6), ("learned_sampling", 12)])
def test_a_small_run_writes_every_operator(name, number, run, tmp_path, capsys):
    arguments = ["--repeats", "1", "--scale", "0.01", "--folder", str(tmp_path)]
    assert run(name)["main"](arguments) == 0
    record = json.loads((tmp_path / f"{name}.json").read_text())
    operators = record["results"]["operators"]
    assert len(operators) == number
    printed = capsys.readouterr().out
    for timing in operators:
        assert timing["name"] in printed
        assert timing["ratio"] == pytest.approx(
            timing["twin_ms"] / timing["compiled_ms"], abs=0.06 + 0.01 * timing["ratio"]
        )
        assert timing["memory_ns_per_sample"] > 0.0
    assert {"machine", "versions", "commit"} <= set(record)


def test_results_that_differ_are_not_timed(run):
    benchmark = run("operator_timing")
    choices = iter([torch.zeros(3), torch.ones(3)])
    workload = benchmark["Workload"](
        "broken", lambda: (next(choices),), 3, benchmark["Accesses"](), goal=1.0
    )
    with pytest.raises(AssertionError):
        benchmark["check_agreement"](workload)
