"""Data, model, phases and losses with one mistake each."""

import numpy as np
import torch
import torch.nn.functional as F
from tests import sixth_task
from tests.wrong_tasks.wrong_task import WrongTask
from torch import nn

from eagleray.task import LossTerm, ParameterGroup


class OneDataset(WrongTask):
    """A task whose data set is another one."""

    data: type[sixth_task.Squares]

    def dataset(self, source, rows):
        return self.data(rows[f"squares:{source}"])


class WrongLabel(WrongTask):
    sentence = "raises KeyError: 'square:train', at training.py:"

    def dataset(self, source, rows):
        return sixth_task.Squares(rows[f"square:{source}"])


class GlobalRandomness(OneDataset):
    sentence = "load(0) gives another [0] for the same rng"

    class data(sixth_task.Squares):  # noqa: N801 - the name of the attribute
        def load(self, index, rng):
            square, label = super().load(index, rng)
            return square + float(np.random.rand()), label


class LambdaInData(OneDataset):
    sentence = "Can't pickle"

    class data(sixth_task.Squares):  # noqa: N801
        def __init__(self, rows):
            super().__init__(rows)
            self._augment = lambda square: square


class EmptyData(OneDataset):
    sentence = "dataset('train') has no samples"

    class data(sixth_task.Squares):  # noqa: N801
        def __len__(self):
            return 0


class OneKey(OneDataset):
    sentence = "two samples have the same key"

    class data(sixth_task.Squares):  # noqa: N801
        def key(self, index):
            return "square"


class Hidden:
    """A batch that the engine cannot look into."""

    def __init__(self, squares, labels):
        self.squares, self.labels = squares, labels

    def __iter__(self):
        return iter((self.squares, self.labels))


class BatchThatStays(OneDataset):
    sentence = "holds tensors that the engine cannot move to a device: .squares, .labels"

    class data(sixth_task.Squares):  # noqa: N801
        def collate(self, samples):
            return Hidden(*super().collate(samples))


class HalfPrecision(WrongTask):
    sentence = "build() must give float32 on the CPU"

    def build(self):
        return super().build().half()


class UnreducedLoss(WrongTask):
    sentence = "loss 'cross_entropy' has a sum of shape (2,); sum it over its samples"

    def losses(self, model, batch, step):
        loss = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
        return {"cross_entropy": LossTerm(loss, len(loss))}


class BareLoss(WrongTask):
    sentence = "loss 'cross_entropy' is Tensor; give LossTerm(sum, weight)"

    def losses(self, model, batch, step):
        return {"cross_entropy": F.cross_entropy(model(batch[0]), batch[1])}


class NoLoss(WrongTask):
    sentence = "losses() gives {}; give LossTerms by name, always the same"

    def losses(self, model, batch, step):
        return {}


class InfiniteLoss(WrongTask):
    sentence = "loss 'cross_entropy' is nan at the first step"

    def losses(self, model, batch, step):
        term = super().losses(model, batch, step)["cross_entropy"]
        return {"cross_entropy": LossTerm(term.sum * float("nan"), term.weight)}


class LossesThatDependOnTheBatch(WrongTask):
    sentence = "rank 0 gives the losses ['cross_entropy', 'first'], rank 1 gives ['cross_entropy']"

    def losses(self, model, batch, step):
        terms = dict(super().losses(model, batch, step))
        if "train-0000" in step.sample_keys:
            terms["first"] = LossTerm(model(batch[0]).sum(), 1.0)
        return terms


class UnusedParameter(WrongTask):
    sentence = "no gradient reaches 2 of 6 trained parameters: spare.weight, spare.bias"

    def build(self):
        model = super().build()
        model.add_module("spare", Spare(3, 3))
        return model


class Spare(nn.Linear):
    """A layer that passes everything by."""

    def forward(self, values):
        return values


class Detached(WrongTask):
    sentence = "no gradient reaches 4 of 4 trained parameters"

    def losses(self, model, batch, step):
        loss = F.cross_entropy(model(batch[0]).detach(), batch[1], reduction="sum")
        return {"cross_entropy": LossTerm(loss, len(batch[1]))}


class UnknownParameter(WrongTask):
    sentence = "phase 'main' names parameters that the model does not have: ['head.weight']"

    def parameter_groups(self, model, phase):
        return (ParameterGroup(["head.weight"]),)


class EvalInLosses(WrongTask):
    sentence = "losses() or before_step() changes train or eval mode of the model"

    def losses(self, model, batch, step):
        return super().losses(model.eval(), batch, step)


class NoPhases(WrongTask):
    sentence = "phases() is empty"

    def phases(self):
        return ()


class LosesWeights(WrongTask):
    sentence = "fit_weights() loses 0.bias, 0.weight"

    def fit_weights(self, model, weights):
        fitted = super().fit_weights(model, weights)
        kept = {name: value for name, value in fitted.weights.items() if not name.startswith("0.")}
        return type(fitted)(kept)


class TensorOnTheWay(WrongTask):
    sentence = "build() gives Tensor, no nn.Module"

    def build(self):
        return torch.zeros(1)
