"""Every tensor of a foreign file accounted for: mapped, missing or extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from eagleray.task import ImportedCheckpoint
from eagleray_vision.weights.tensors import IGNORED_SUFFIX, WeightFileError, require_plain

_NUM_NAMED = 5
"""How many tensors an error message names."""


def check_shapes(
    path: Path,
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    own: Mapping[str, Tensor],
    hint: str,
) -> None:
    """Refuse tensors of other shapes than the network's, and those that are no dense numbers.

    Args:
        path: The file, for the message.
        tensors: Its tensors by its names.
        names: Our name of each of them that is mapped.
        own: Tensors of the network by our names.
        hint: What to do, a sentence for the message.

    Raises:
        WeightFileError: A shape differs, or a tensor is sparse, quantized, complex, without values
            or not finite.
    """
    wrong = [
        f"{name}: file {tuple(tensors[name].shape)}, network {tuple(own[ours].shape)}"
        for name, ours in names.items()
        if tensors[name].shape != own[ours].shape
    ]
    if wrong:
        raise WeightFileError(
            f"{path} does not fit the network: {len(wrong)} tensors have another shape "
            f"({'; '.join(wrong[:_NUM_NAMED])}). {hint}"
        )
    require_plain(path, {name: tensors[name] for name in names})


def imported_checkpoint(
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    own: Mapping[str, Tensor],
    extra: Sequence[str],
) -> ImportedCheckpoint:
    """Put a checkpoint together; values take the network's floating-point types.

    Args:
        tensors: Tensors of the file by its names.
        names: Our name of each of them that is mapped.
        own: Tensors of the network by our names.
        extra: Names of everything else in the file.

    Returns:
        The checkpoint; counters of batches, which nothing uses, are never missing.
    """
    state = {ours: tensors[name].to(own[ours].dtype) for name, ours in names.items()}
    return ImportedCheckpoint(
        state_dict=state,
        mapped=dict(names),
        missing=tuple(n for n in own if n not in state and not n.endswith(IGNORED_SUFFIX)),
        extra=tuple(sorted(extra)),
    )
