"""What a small OPS finds in panoramas of the toy world, with words that it never trained on.

    eagleray run experiments/ops/toyworld.yaml
    python experiments/benchmarks/ops_toyworld.py experiments/ops/toyworld.yaml

Records the evaluations of a finished run, in percent, and how long its training took. Aims: mean
IoU at least 30, of words never trained on at least 15, each three times that of shuffled words, in
25 minutes of two cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from prettytable import PrettyTable
from record import write_record

from eagleray import Experiment

LEAST_MIOU, LEAST_NEW_WORDS, LEAST_RATIO = 30.0, 15.0, 3.0
SHOWN = ("miou", "miou_shuffled_words", "miou_new_words", "miou_new_words_shuffled_words")


def main() -> None:
    """Print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", help="YAML of a trained experiment")
    options = parser.parse_args()
    experiment = Experiment.from_file(options.experiment, inline=True)
    summary = json.loads((Path(experiment.run_folder.uri) / "summary.json").read_text())
    table, found = PrettyTable(["benchmark", *SHOWN]), {}
    for result in experiment.evaluate():
        found[result.benchmark] = {
            "units": result.units,
            "percent": dict(result.values),
            "iou_percent": {name: one["iou"] for name, one in result.per_class.items()},
        }
        table.add_row([result.benchmark, *(f"{result.values[name]:.1f}" for name in SHOWN)])
    print(table)
    results = {
        "experiment": options.experiment,
        "least_miou_percent": LEAST_MIOU,
        "least_miou_new_words_percent": LEAST_NEW_WORDS,
        "least_ratio_to_shuffled_words": LEAST_RATIO,
        "steps": summary["step"],
        "train_seconds": summary["train_seconds"],
        "benchmarks": found,
    }
    print("written to", write_record("ops_toyworld", results))


if __name__ == "__main__":
    main()
