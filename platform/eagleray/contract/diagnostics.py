"""What an evaluation tells beside its metrics, in forms that the engine can store and draw without
knowing what is measured: a matrix with labels, curves, a table; and labels that lie over pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field


@dataclass(frozen=True, slots=True)
class MatrixDiagnostic:
    """Numbers by two kinds of labels, such as counts of pixels by true and predicted class.

    Args:
        title: What it shows.
        rows: Labels of the rows.
        columns: Labels of the columns.
        values: One list per row, a number per column; rows are drawn as shares of their sums.
        row_title: What rows are.
        column_title: What columns are.
        note: How to read it.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    row_title: str = "truth"
    column_title: str = "prediction"
    note: str = ""
    kind: Literal["matrix"] = "matrix"


@dataclass(frozen=True, slots=True)
class CurvesDiagnostic:
    """Lines over one axis, such as precision over recall.

    Args:
        title: What it shows.
        x_title: What x is, with its unit.
        y_title: What y is, with its unit.
        lines: x and y of each line, of one length.
        note: How to read it.
    """

    title: str
    x_title: str
    y_title: str
    lines: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
    note: str = ""
    kind: Literal["curves"] = "curves"


@dataclass(frozen=True, slots=True)
class TableDiagnostic:
    """Numbers by name, such as errors by class.

    Args:
        title: What it shows.
        columns: Names of the numbers.
        rows: One number per column by the row's name; None where there is none.
        row_title: What rows are.
        note: How to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float | None, ...]]
    row_title: str = "class"
    note: str = ""
    kind: Literal["table"] = "table"


Diagnostic = Annotated[
    MatrixDiagnostic | CurvesDiagnostic | TableDiagnostic, Field(discriminator="kind")
]
"""Any of them."""


@dataclass(frozen=True, slots=True)
class LabelLayer:
    """Labeled segments of one picture.

    Args:
        ids: (H, W) integers: which segment a pixel belongs to, 0 for none.
        classes: Class of each segment, an index into ``LabelLayers.names``; segment n has entry
            n - 1. At most 65,535 segments.
        scores: Confidence of each segment in 0..1; empty where there are none.
    """

    ids: npt.NDArray[np.integer[Any]]
    classes: Sequence[int]
    scores: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class LabelLayers:
    """Labels that a visitor can switch on and off over the input.

    Args:
        names: Names of the classes.
        colors: (C, 3) uint8 RGB.
        layers: Labels by the name of the picture that shows them (``truth``, ``prediction``).
    """

    names: Sequence[str]
    colors: npt.NDArray[np.uint8]
    layers: Mapping[str, LabelLayer] = field(default_factory=dict)
