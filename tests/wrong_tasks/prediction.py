"""Exports and imports with one mistake each."""

from safetensors.torch import load_file
from tests.wrong_tasks.wrong_task import WrongTask

from eagleray.task import ImportedCheckpoint, Importing, InputError, Item, Record


class SameFile(WrongTask):
    sentence = "one and two both write 'square.json'; put the item's key into the name"

    def export(self, item, sample, prediction, format):
        return Record(item.key, {"label": prediction}, {"square.json": b"1"})


class SameInputKeys(WrongTask):
    sentence = "two files have the same key: square, square"

    def inputs(self, paths):
        for path in paths:
            yield Item("square", path.name, {"path": str(path)})


class NoJson(WrongTask):
    sentence = "one.json is no .json file"

    def export(self, item, sample, prediction, format):
        return Record(item.key, {"label": prediction}, {f"{item.key}.json": b"{"})


class StringAsExport(WrongTask):
    sentence = "'one.json' is str; files are bytes"

    def export(self, item, sample, prediction, format):
        return Record(item.key, {"label": prediction}, {f"{item.key}.json": "1"})


class LeavesTheFolder(WrongTask):
    sentence = "'../one.json' is no relative path below the output folder"

    def export(self, item, sample, prediction, format):
        return Record(item.key, {"label": prediction}, {f"../{item.key}.json": b"1"})


class TensorInRow(WrongTask):
    sentence = "raises TypeError: Object of type Tensor is not JSON serializable"

    def export(self, item, sample, prediction, format):
        return Record(item.key, {"label": sample[0]}, {f"{item.key}.json": b"1"})


class NoFiles(WrongTask):
    sentence = "neither export() nor export_index() writes a file"

    def export(self, item, sample, prediction, format):
        return Record(item.key, {"label": prediction})

    def export_index(self, format, rows):
        return {}


class IndexOverAll(WrongTask):
    sentence = "export_index() overwrites 'one.json' of one"

    def export_index(self, format, rows):
        return {"one.json": b"[]"}


class TakesAnyFile(WrongTask, Importing):
    sentence = "import_checkpoint() takes a text file for weights"

    def import_checkpoint(self, path):
        return ImportedCheckpoint({}, {})


class Imports(WrongTask, Importing):
    """A task that reads a published file rightly, up to what ``converted`` changes."""

    def import_checkpoint(self, path):
        try:
            state = load_file(path)
        except Exception as error:
            raise InputError(f"{path} holds no weights") from error
        return self.converted(state)

    def converted(self, state):
        return ImportedCheckpoint(state, {name: name for name in state})


class ForgetsAWeight(Imports):
    sentence = "weights are neither imported nor named missing: 0.bias"

    def converted(self, state):
        del state["0.bias"]
        return super().converted(state)


class TransposedWeight(Imports):
    sentence = "weights have another shape in the model: 3.weight"

    def converted(self, state):
        return super().converted({**state, "3.weight": state["3.weight"].T})


class ForeignNames(Imports):
    sentence = "weights are not in the model: module.0.bias"

    def converted(self, state):
        return super().converted({f"module.{name}": value for name, value in state.items()})


class TracebackOfAWrongFile(WrongTask, Importing):
    sentence = "a wrong file is refused (import): raises SafetensorError"

    def import_checkpoint(self, path):
        state = load_file(path)
        return ImportedCheckpoint(state, {name: name for name in state})
