"""Weights of another class list: which tensors depend on the classes, and what becomes of them.

Tensors of the heads that hold one row per class begin afresh together as soon as one of them has
another shape: the class list is another one then, and no row may be taken for a class by its
position alone. Where both class lists are known, rows can be kept by the names of their classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from eagleray.task import FittedWeights, SettingsError
from eagleray_vision.panoptic.label_space import LabelSpace

_NUM_NAMED = 5
"""How many tensors or classes an error message names."""


@dataclass(frozen=True)
class ClassHead:
    """The layout of one layer that has rows per class.

    Attributes:
        prefix: Beginning of the names of its weight and bias.
        things_only: Whether its rows are those of the things; otherwise of all classes.
        rows_per_class: Rows of one class, next to each other.
        first_row: Rows before those of the first class (background).
    """

    prefix: str
    things_only: bool = False
    rows_per_class: int = 1
    first_row: int = 0

    def num_classes(self, weights: Mapping[str, Tensor]) -> int | None:
        """Return the number of its classes in a file; None where the file lacks its bias."""
        bias = weights.get(f"{self.prefix}bias")
        return (
            None
            if bias is None or not bias.ndim
            else (len(bias) - self.first_row) // self.rows_per_class
        )


@dataclass(frozen=True)
class ClassHeads:
    """The layers of a network that have rows per class.

    Attributes:
        heads: Their layouts; of several, the first one that a file has tells its number of classes.
    """

    heads: tuple[ClassHead, ...]

    def of(self, name: str) -> ClassHead:
        """Return the layout of a tensor; without one it has a row for each class."""
        fitting = (head for head in self.heads if name.startswith(head.prefix))
        return next(fitting, ClassHead(""))

    def describe(self, weights: Mapping[str, Tensor]) -> str:
        """Say how many classes a file was trained on."""
        things, classes = self._count(weights, things=True), self._count(weights, things=False)
        if things is None:
            return "other classes" if classes is None else f"{classes} classes"
        if classes is None:
            return f"{things} things"
        return f"{classes - things} stuff and {things} thing classes"

    def _count(self, weights: Mapping[str, Tensor], *, things: bool) -> int | None:
        counts = (h.num_classes(weights) for h in self.heads if h.things_only is things)
        return next((count for count in counts if count is not None), None)


class ClassNetwork(Protocol):
    """A network with heads of stuff and thing classes; another one of its type is made by
    ``type(network)(settings, num_stuff=..., num_thing=...)``.
    """

    settings: Any
    num_stuff: int
    num_thing: int

    def __init__(self, settings: Any, *, num_stuff: int, num_thing: int) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """Return its tensors by name."""


def tensors_of_classes(network: ClassNetwork) -> tuple[str, ...]:
    """Return the names of a network's tensors whose shapes depend on the numbers of classes."""
    with torch.device("meta"):
        other = type(network)(
            network.settings, num_stuff=network.num_stuff + 1, num_thing=network.num_thing + 1
        )
    return class_tensors(network.state_dict(), other.state_dict())


def fit_network(
    network: ClassNetwork,
    weights: Mapping[str, Tensor],
    heads: ClassHeads,
    space: LabelSpace,
    source: LabelSpace | None = None,
) -> FittedWeights:
    """Make weights of another class list fit a network, which is not changed.

    Args:
        network: The network that they are for.
        weights: Tensors by name.
        heads: Its layers with rows per class.
        space: Its class list.
        source: Class list of the weights, if rows are to be kept by class names.

    Raises:
        SettingsError: A tensor that has nothing to do with the classes has another shape, or
            ``source`` is not the class list of the weights.
    """
    own = network.state_dict()
    return fit_to_classes(own, tensors_of_classes(network), weights, heads, space, source)


def class_tensors(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the tensors whose shapes depend on the numbers of classes.

    Args:
        own: Tensors of a network by name.
        other: Those of a network with one more stuff and one more thing class.
    """
    return tuple(name for name, value in own.items() if value.shape != other[name].shape)


def fit_to_classes(
    own: Mapping[str, Tensor],
    dependent: Sequence[str],
    weights: Mapping[str, Tensor],
    heads: ClassHeads,
    space: LabelSpace,
    source: LabelSpace | None = None,
) -> FittedWeights:
    """Make weights of another class list fit a network.

    Args:
        own: Tensors of the network that they are for, by name; not changed.
        dependent: What `class_tensors` says of it.
        weights: Tensors by name.
        heads: Layout of its class rows.
        space: Its class list.
        source: Class list of the weights, if rows are to be kept by class names.

    Returns:
        The weights that can be loaded, and the tensors that begin afresh with the reason.

    Raises:
        SettingsError: A tensor that has nothing to do with the classes has another shape, or
            ``source`` is not the class list of the weights.
    """
    wrong = [k for k, v in weights.items() if k in own and own[k].shape != v.shape]
    dependent = [name for name in dependent if name in weights]
    _refuse_other_shapes([name for name in wrong if name not in dependent], own, weights)
    if source is not None:
        rows = _RowMap(source, space, heads)
        rows.check(dependent, weights)
        kept_rows = {name: rows.carried(name, weights[name], own[name]) for name in dependent}
        return FittedWeights({**weights, **kept_rows}, notes=rows.notes(len(dependent)))
    if not wrong:
        return FittedWeights(weights)
    reason = (
        f"because their rows are classes, and the file has {heads.describe(weights)}, this network "
        f"{space.num_stuff} stuff and {space.num_things} thing classes (to keep rows by class "
        "name, set init_class_list)"
    )
    rest = {name: value for name, value in weights.items() if name not in dependent}
    return FittedWeights(rest, dict.fromkeys(dependent, reason))


def _refuse_other_shapes(
    names: Sequence[str], own: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> None:
    if names:
        listed = "; ".join(
            f"{name}: file {tuple(weights[name].shape)}, network {tuple(own[name].shape)}"
            for name in names[:_NUM_NAMED]
        )
        raise SettingsError(
            f"train.init_from does not fit: {len(names)} tensors that do not depend on the classes "
            f"have another shape ({listed}); use the network settings that the file was trained "
            "with"
        )


class _RowMap:
    """Rows of a file's class tensors by the names of this network's classes."""

    def __init__(self, source: LabelSpace, space: LabelSpace, heads: ClassHeads) -> None:
        self._source, self._space, self._heads = source, space, heads
        self._of_class = _by_name(source.class_names, space.class_names)
        self._of_thing = _by_name(
            source.class_names[source.num_stuff :], space.class_names[space.num_stuff :]
        )

    def check(self, names: Sequence[str], weights: Mapping[str, Tensor]) -> None:
        """Refuse a class list that the file was not trained with."""
        for name in names:
            wanted = self._num_rows(name)
            if len(weights[name]) != wanted:
                raise SettingsError(
                    f"init_class_list {self._source.name} lists {self._source.num_stuff} stuff and "
                    f"{self._source.num_things} thing classes, so {name} would have {wanted} rows, "
                    f"but it has {len(weights[name])}: it is not the class list of "
                    "train.init_from"
                )

    def carried(self, name: str, file: Tensor, own: Tensor) -> Tensor:
        """Return the network's initial tensor with the rows of its known classes from the file."""
        result = own.detach().clone()
        head = self._heads.of(name)
        per_class, first = head.rows_per_class, head.first_row
        rows = self._of_thing if head.things_only else self._of_class
        result[:first] = file[:first]
        for index, of_file in enumerate(rows):
            if of_file is not None:
                here, there = first + index * per_class, first + of_file * per_class
                result[here : here + per_class] = file[there : there + per_class]
        return result

    def notes(self, num_tensors: int) -> tuple[str, ...]:
        """Say which classes keep their rows."""
        pairs = list(zip(self._space.class_names, self._of_class, strict=True))
        kept = [name for name, row in pairs if row is not None]
        fresh = [name for name, row in pairs if row is None]
        things = self._space.class_names[self._space.num_stuff :]
        no_box = [
            name
            for name, row in zip(things, self._of_thing, strict=True)
            if row is None and name in kept
        ]
        lines = [
            f"{num_tensors} tensors keep the rows of {len(kept)} classes of {self._source.name} by "
            f"name ({', '.join(kept) or 'none'})",
            f"{len(fresh)} classes begin afresh: {', '.join(fresh) or 'none'}",
        ]
        if no_box:
            lines.append(f"no things in the file, so without detections: {', '.join(no_box)}")
        return tuple(lines)

    def _num_rows(self, name: str) -> int:
        head = self._heads.of(name)
        count = self._source.num_things if head.things_only else self._source.num_classes
        return head.first_row + head.rows_per_class * count


def _by_name(source: Sequence[str], names: Sequence[str]) -> tuple[int | None, ...]:
    """Return the position of each name in a list; None where it is not there just once."""
    once = [name for name in names if source.count(name) == names.count(name) == 1]
    return tuple(source.index(name) if name in once else None for name in names)
