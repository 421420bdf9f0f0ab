"""How much of its machine a training uses: CPUs, memory, GPUs, as curves beside the losses."""

from __future__ import annotations

from typing import Any

import psutil

_GB = 1e9


class MachineUse:
    """Reads what psutil and, where there is one, NVIDIA's driver say; each value is since the last
    read. Names begin with ``system/``.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        psutil.cpu_percent()  # the first call only begins to count
        self._process.cpu_percent()
        self._gpus = _open_gpus()

    def read(self) -> dict[str, float]:
        """Return percent of all CPUs and of this process (100 is one core), memory in GB, and each
        GPU's percent and memory.
        """
        memory = psutil.virtual_memory()
        values = {
            "system/cpu_percent": psutil.cpu_percent(),
            "system/process_cpu_percent": self._process.cpu_percent(),
            "system/memory_gb": (memory.total - memory.available) / _GB,
            "system/process_memory_gb": self._process.memory_info().rss / _GB,
        }
        for position, (library, handle) in enumerate(self._gpus):
            try:
                used = library.nvmlDeviceGetMemoryInfo(handle).used
                values[f"system/gpu{position}_memory_gb"] = used / _GB
                percent = library.nvmlDeviceGetUtilizationRates(handle).gpu
                values[f"system/gpu{position}_percent"] = float(percent)
            except library.NVMLError:  # a device that does not say
                continue
        return values


def _open_gpus() -> list[tuple[Any, Any]]:
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        return [(pynvml, pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)]
    except pynvml.NVMLError:  # no driver
        return []
