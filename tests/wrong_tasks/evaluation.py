"""Benchmarks, scores and pictures with one mistake each."""

import numpy as np
from tests.wrong_tasks.wrong_task import WrongTask

from eagleray.task import Metrics


class OtherColumn(WrongTask):
    sentence = "has the columns ['right'], the stage's schema says ['hit']"

    def score(self, benchmark, sample, prediction):
        return {"right": prediction == sample[1]}


class OnePredictionTooFew(WrongTask):
    sentence = "predict() gives 3 predictions for 4 samples"

    def predict(self, model, samples):
        return super().predict(model, samples)[1:]


class TrainInPredict(WrongTask):
    sentence = "predict() changes train or eval mode of the model"

    def predict(self, model, samples):
        return super().predict(model.train(), samples)


class DividesByZero(WrongTask):
    sentence = "raises ZeroDivisionError: division by zero, at evaluation.py:"

    def compute(self, benchmark, rows):
        hits = [row["hit"] for row in rows]
        return Metrics({"accuracy": sum(hits) / len(hits)})


class DividesByOneLess(WrongTask):
    sentence = "compute works on 1 units (benchmark val): raises ZeroDivisionError"

    def compute(self, benchmark, rows):
        hits = [float(row["hit"]) for row in rows]
        spread = sum((h - hits[0]) ** 2 for h in hits) / (len(hits) - 1)
        return Metrics({"accuracy": sum(hits) / max(1, len(hits)), "spread": spread})


class CountsRows(WrongTask):
    sentence = "object of type 'list_iterator' has no len()"

    def compute(self, benchmark, rows):
        return Metrics({"accuracy": 1.0 / max(1, len(rows))})


class OtherMetric(WrongTask):
    sentence = "the benchmark is ranked by 'accuracy', but compute() gives ['hits']"

    def compute(self, benchmark, rows):
        return Metrics({"hits": float(sum(row["hit"] for row in rows))})


class BareMetrics(WrongTask):
    sentence = "compute() gives dict, no Metrics"

    def compute(self, benchmark, rows):
        return {"accuracy": 1.0}


class FloatPicture(WrongTask):
    sentence = "picture 'input' is float32 (6, 6, 3); it must be uint8 (H, W, 3)"

    def picture(self, sample, prediction):
        return {"input": np.zeros((6, 6, 3), np.float32)}


class PicturesOfTwoSizes(WrongTask):
    sentence = "pictures of one unit must have one size"

    def picture(self, sample, prediction):
        return {"input": np.zeros((6, 6, 3), np.uint8), "truth": np.zeros((3, 3, 3), np.uint8)}


class ReadsAnotherSplit(WrongTask):
    sentence = "(benchmark val): raises KeyError: 'squares:train'"

    def dataset(self, source, rows):
        return super().dataset("train", rows)


class UnknownStage(WrongTask):
    sentence = "stages_of() names stages that there are not: ['squares:test']"

    def stages_of(self, source):
        return ["squares:test"]
