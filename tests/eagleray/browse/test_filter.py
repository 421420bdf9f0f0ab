"""Filters: what they choose among runs, and what they say about mistakes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from eagleray.browse.filter import read_filter
from eagleray.browse.index import RunEntry
from eagleray.browse.run_rows import RunRow, example_condition
from eagleray.runs.records import EvaluationResult, RunSummary

SETTINGS = [
    {"seed": 1999, "train.phases.0.lr": 0.02, "settings.backbone": "resnet50", "faithful": True},
    {"seed": 7, "train.phases.0.lr": 0.005, "settings.backbone": "resnet101", "faithful": False},
]
ROWS = [
    RunRow(
        RunEntry(
            f"street/main-{idx}",
            RunSummary(
                "ops",
                state="trained",
                step=50,
                train={"lr": 1e-9, "loss": 0.5},
                results=(EvaluationResult("val", "best", "miou", {"miou": 70.5 + idx}),),
            ),
        ),
        "val: miou",
        best=70.5 + idx,
        settings=SETTINGS[idx],
    )
    for idx in range(2)
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0, 1]),
        ("lr<0.01", [1]),
        ("train.phases.0.lr<0.01", [1]),
        ("seed=1999", [0]),
        ("seed!=1999", [1]),
        ("backbone=ResNet50", [0]),
        ("backbone~resnet(50|34)$", [0]),
        ("faithful=true", [0]),
        ("/main-[1-3]/ ops", [1]),
        ("run~main-0", [0]),
        ("miou>71 step=50", [1]),
        ("miou > 71", [1]),
        ("best>71", [1]),
        ("loss<1", [0, 1]),
        ("state=evaluated", [0, 1]),
        ("STREET/main-1", [1]),
    ],
)
def test_runs_are_chosen_by_words_expressions_metrics_and_settings(text, expected):
    chosen, problems = read_filter(text).chosen(ROWS, "run")
    assert [ROWS.index(row) for row in chosen] == expected
    assert problems == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("miou>abc", "'abc' is no number"),
        ("mioux>70", "did you mean 'miou'?"),
        ("xylophone=3", "no run has 'xylophone'"),
        ("/ma(in/", "no regular expression"),
        ("run~[", "no regular expression"),
        ("run~" + "a" * 300, "200 characters"),
    ],
)
def test_what_cannot_be_meant_chooses_nothing_and_is_told(text, told):
    chosen, problems = read_filter(text).chosen(ROWS, "run")
    assert chosen == []
    assert len(problems) == 1
    assert told in problems[0]


def test_the_hint_is_in_the_units_of_the_metrics():
    assert example_condition(ROWS) == "miou>71.5"
    assert example_condition([]) == "step>=1000"


_ENDLESS = """
from eagleray.browse.filter import NamedValues, read_filter
rows = [NamedValues("a" * 60 + "!", {"name": "a" * 60 + "!"})]
print([read_filter(text).chosen(rows, "run") for text in ("/(a|aa)+$/", "name~(a|aa)+$")])
"""


def test_an_expression_that_would_go_back_for_ever_is_answered():
    # A process of its own: an engine that goes back holds the interpreter, and with it this test.
    asked = [sys.executable, "-c", _ENDLESS]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[([], []), ([], [])]"


@pytest.mark.parametrize("text", ["/((a{1000}){1000}){1000}/", r"/(a)\1/", "/(?=a)/"])
def test_an_expression_without_a_bound_on_its_time_or_memory_is_refused(text):
    chosen, problems = read_filter(text).chosen(ROWS, "run")
    assert chosen == [] and "no regular expression" in problems[0]
