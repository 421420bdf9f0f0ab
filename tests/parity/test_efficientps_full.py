"""The whole released network, its weights imported from a file in the published layout."""

import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.parity.cases import cases, key_list
from tests.parity.efficientps_case import EfficientPsCase, near
from torch import Tensor

from eagleray_efficientps.checkpoint_import import import_checkpoint, read_checkpoint
from eagleray_efficientps.model.config import NetworkSettings
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_efficientps.model.original_names import UNUSED_SUFFIX

KEYS_FILE = "checkpoint_keys.json"
"""The full network's tensor names; itself a case of the test below."""
RECIPE = re.compile(r"RandomState\((\d+)\)\.standard_normal\(\(([\d,]+)\)\)")


def write_checkpoint(keys: Path, path: Path) -> Path:
    """Write a checkpoint in the layout of the released ones, procedural weights in it."""
    names: dict[str, list[int]] = json.loads(keys.read_text())
    state = {name: procedural_weight(name, shape) for name, shape in names.items()}
    torch.save({"meta": {"epoch": 160, "iter": 1}, "state_dict": state}, path)
    return path


def procedural_weight(name: str, shape: list[int]) -> Tensor:
    """Return the tensor that the data's recipe draws for a name."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == UNUSED_SUFFIX:
        return torch.tensor(0)
    n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(int(np.prod(shape)))
    n = n.reshape(shape)
    if leaf == "running_mean":
        value = 0.1 * n
    elif leaf == "running_var":
        value = 1 + 0.2 * np.tanh(n)
    elif leaf == "bias":
        value = 0.05 * n
    elif len(shape) == 1:
        value = (0.6 + 0.2 * np.tanh(n)) * np.where(n > 1, -1, 1)
    else:
        fan = shape[0] if name == "mask_head.upsample.weight" else int(np.prod(shape[1:]))
        value = n * np.sqrt(2 / fan)
    return torch.from_numpy(value.astype(np.float32))


def drawn(recipe: str) -> Tensor:
    """Return the input that a recipe describes."""
    found = RECIPE.search(recipe)
    assert found, recipe
    shape = [int(side) for side in found[2].split(",")]
    values = np.random.RandomState(int(found[1])).standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32))


def imported_network(path: Path, **counts: int) -> EfficientPsNetwork:
    found = import_checkpoint(path, NetworkSettings(), **counts)
    assert not found.missing
    network = EfficientPsNetwork(NetworkSettings(), **counts)
    network.load_state_dict(dict(found.state_dict))
    return network.eval()


@pytest.mark.parametrize("path", cases("efficientps", "checkpoint_keys"), ids=lambda p: p.stem)
def test_every_released_tensor_is_mapped_or_a_counter_of_batches(
    path: Path, tmp_path: Path
) -> None:
    published = write_checkpoint(path, tmp_path / "model.pth")
    num_stuff, num_thing = read_checkpoint(published).num_classes
    found = import_checkpoint(
        published, NetworkSettings(), num_stuff=num_stuff, num_thing=num_thing
    )
    names = json.loads(path.read_text())
    counters = {name for name in names if name.endswith(UNUSED_SUFFIX)}
    assert set(found.mapped) == set(names) - counters
    assert set(found.extra) == counters | {"meta"}
    assert not found.missing and len(set(found.mapped.values())) == len(found.mapped)


@pytest.mark.parametrize("path", cases("efficientps", "full_b5"), ids=lambda p: p.stem)
def test_full_network(path: Path, tmp_path: Path) -> None:
    case = EfficientPsCase(path)
    keys = key_list("efficientps", KEYS_FILE)
    published = write_checkpoint(keys, tmp_path / "model.pth")
    checkpoint = read_checkpoint(published)
    for name, sums in case.meta["checksum_sum_and_sumsq"].items():
        value = checkpoint.tensors[name].double()
        assert [float(value.sum()), float((value**2).sum())] == pytest.approx(sums, rel=1e-6)
    num_stuff, num_thing = checkpoint.num_classes
    network = imported_network(published, num_stuff=num_stuff, num_thing=num_thing)
    with torch.no_grad():
        backbone = network.backbone(drawn(case.meta["image"]))
        levels = network.pyramid(backbone)
        check_levels(case, "C", "every8th", (2, 3, 4, 5), 8, backbone)
        check_levels(case, "P", "every16th", (4, 8, 16, 32), 16, levels)
        logits = network.semantic_logits(levels)
        full = torch.nn.functional.interpolate(
            logits, [4 * side for side in logits.shape[2:]], mode="bilinear"
        )
        near(full[:, :, ::2, ::2], case["out.semantic_logits_stride4"])
        objectness, deltas = network.rpn_head(levels[3])
        near(objectness, case["out.objectness_32"])
        near(deltas, case["out.deltas_32"])
        classes, codes = network.box_head(drawn(case.meta["box_head_input"]))
        near(classes, case["out.box_cls"])
        near(codes.flatten(1), case["out.box_deltas"])
        masks = network.mask_head(drawn(case.meta["mask_head_input"]))
        near(masks, case["out.mask_logits"])


def check_levels(
    case: EfficientPsCase, prefix: str, suffix: str, names: tuple[int, ...], step: int, found: Any
) -> None:
    for name, x in zip(names, found, strict=True):
        near(x[:, ::step], case[f"out.{prefix}{name}_{suffix}"])
