"""The types that the contract is generic in; each is ``Any`` where a task does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import TypeVar

if TYPE_CHECKING:
    from torch import nn

L = TypeVar("L", default=Any)
"""What a stage loads for one item."""
R = TypeVar("R", default=Any)
"""What a stage makes of it: records, or what they are encoded from."""
M = TypeVar("M", bound="nn.Module", default=Any)
"""The model."""
S = TypeVar("S", default=Any)
"""One sample of a dataset."""
B = TypeVar("B", default=Any)
"""A batch of samples."""
B_co = TypeVar("B_co", covariant=True, default=Any)
"""The same, of data that only give batches."""
D = TypeVar("D", default=Any)
"""The training data."""
P = TypeVar("P", default=Any)
"""A prediction for one sample."""
K = TypeVar("K", default=Any)
"""What stands for a click."""
