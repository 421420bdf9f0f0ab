"""The compiled operators as something that can be there, be missing, or be built ahead."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from eagleray.task import Requirement
from eagleray_kernels import build_library, kernel_status


def operator_requirements() -> Sequence[Requirement]:
    """Return the operators of each device type on which they could run here.

    Without them the same arithmetic runs in plain PyTorch, slower: they are optional.
    """
    status = kernel_status()
    return [
        Requirement(
            f"operators for {device.device}",
            device.is_built,
            f"plain PyTorch runs instead, slower: {device.obstacle}"
            if device.obstacle
            else "compiled at their first use, or now with eagleray doctor --build",
            optional=True,
            build=None if device.obstacle else partial(build_library, device.device),
        )
        for device in status.devices
        if device.device == "cpu" or status.cuda_device or status.nvcc
    ]
