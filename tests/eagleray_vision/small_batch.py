"""A batch of two small images with targets, for networks of few channels."""

import torch

from eagleray_vision.samples.target import PanopticTarget

NUM_STUFF, NUM_THING = 3, 2
SIZES = [(64, 96), (50, 80)]


def images(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1), dtype=dtype)


def target(size: tuple[int, int], content: str = "thing") -> PanopticTarget:
    """Return stuff above void, and for ``thing`` or ``crowd`` a square of a thing class."""
    ids = torch.zeros(size, dtype=torch.int64)
    ids[: size[0] // 2] = 1
    classes, is_crowd = [255, 1], [False, False]
    if content != "stuff":
        ids[10:40, 20:50] = 2
        classes.append(NUM_STUFF + 1)
        is_crowd.append(content == "crowd")
    return PanopticTarget(ids, torch.tensor(classes), torch.tensor(is_crowd))


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(k) for k in range(len(SIZES))]
