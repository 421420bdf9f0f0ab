"""Stages with one mistake each."""

import numpy as np
from tests import sixth_task
from tests.wrong_tasks.wrong_task import WrongTask

from eagleray.task import Item, Record


class OneStage(WrongTask):
    """A task whose drawing stage is another one."""

    stage: type[sixth_task.DrawSquares]

    def stages(self):
        return [self.stage(self.settings, source) for source in ("train", "val")]


class WrongColumn(OneStage):
    sentence = "record 'train-0000' has the columns ['class', 'pixels'], the stage's schema says"

    class stage(sixth_task.DrawSquares):  # noqa: N801 - the name of the attribute
        def process(self, samples):
            return [
                [Record(key, {"pixels": square.ravel().tolist(), "class": label})]
                for key, square, label in samples
            ]


class WrongColumnType(OneStage):
    sentence = "column 'label' is int64, but cannot hold its value"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def process(self, samples):
            return [[Record(k, {"pixels": s.ravel(), "label": "striped"})] for k, s, _ in samples]


class UnknownColumnType(OneStage):
    sentence = "unknown column type 'float'"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        schema = {"pixels": "list<float>", "label": "int64"}  # noqa: RUF012


class BareRecords(OneStage):
    sentence = "process() and encode() give Record for a sample; each sample needs a sequence"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def process(self, samples):
            return [records[0] for records in super().process(samples)]


class OneResultTooFew(OneStage):
    sentence = "process() gives 0 results for 1 samples"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def process(self, samples):
            return super().process(samples)[1:]


class StringAsFile(OneStage):
    sentence = "file 'note.txt' is str; files are bytes"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def process(self, samples):
            return [
                [Record(k, {"pixels": s.ravel(), "label": y}, {"note.txt": "striped"})]
                for k, s, y in samples
            ]


class RandomLoad(OneStage):
    sentence = "load('train-0000') gives another [1] when it is called again"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def load(self, item):
            key, square, label = super().load(item)
            return key, square + np.random.default_rng().normal(), label


class TypoInLoad(OneStage):
    sentence = "raises KeyError: 'indx', at stages.py:"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def load(self, item):
            return item.key, item.payload["indx"], 0


class LambdaInStage(OneStage):
    sentence = "Can't pickle"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def __init__(self, settings, source):
            super().__init__(settings, source)
            self._draw = lambda: settings


class SameKeys(OneStage):
    sentence = "two items have the key 'square'; keys must be unique"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def items(self, upstream):
            return (Item("square", item.identity, item.payload) for item in super().items(upstream))


class OtherIdentityEachTime(OneStage):
    sentence = "when it is called again; keys and identities must stay"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def items(self, upstream):
            for item in super().items(upstream):
                yield Item(item.key, str(np.random.default_rng().random()), item.payload)


class TupleInPayload(OneStage):
    sentence = "the payload of 'train-0000' changes as JSON"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def items(self, upstream):
            for item in super().items(upstream):
                yield Item(item.key, item.identity, {**item.payload, "size": (6, 6)})


class NoItems(OneStage):
    sentence = "items() lists nothing"

    class stage(sixth_task.DrawSquares):  # noqa: N801
        def items(self, upstream):
            return iter(())


class TwoStagesOfOneLabel(WrongTask):
    sentence = "two stages have the label 'squares:train'"

    def stages(self):
        return [sixth_task.DrawSquares(self.settings, "train") for _ in range(2)]
