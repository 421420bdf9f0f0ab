"""A checkpoint in the original's own layout, imported by the command, computes the original's
numbers: the archive is built from the key list and the recipe of the full-network case.
"""

import csv
import io
import json
import zipfile
from pathlib import Path

import msgpack
import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file
from tests.eagleray_seamseg.original_files import VISTAS_R50
from tests.parity.cases import cases, key_list
from tests.parity.golden import Case, close
from tests.parity.test_seamseg_full_network import check_sample, recipe_value
from torch.nn import functional as F

from eagleray.cli import main
from eagleray.experiment.load import load_experiment
from eagleray_seamseg.model.config import RESNET_DEPTHS, BodySettings, vistas_r50
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.model.norm import norm_specs
from eagleray_seamseg.task import SeamlessTask
from eagleray_vision.backbones.pretrained import torchvision_resnet_name
from eagleray_vision.backbones.resnet import ResNet


def listed_tensors() -> dict[str, tuple[int, ...]]:
    """Return module.key -> shape of the key list."""
    with key_list("seamseg", "state_dict.csv").open() as file:
        return {
            f"{row['module']}.{row['key']}": tuple(map(int, row["shape"].split("x")))
            for row in csv.DictReader(file)
        }


def snapshot(case: Case, seed: int, *, counters: bool) -> bytes:
    """Return a snapshot as the original writes it, with the recipe's weights."""
    states: dict[str, dict[str, torch.Tensor]] = {}
    for name, shape in listed_tensors().items():
        module, key = name.split(".", 1)
        states.setdefault(module, {})[key] = recipe_value(name, shape, seed, case)
        if counters and key.endswith("running_var"):
            counter = key.replace("running_var", "num_batches_tracked")
            states[module][counter] = torch.tensor(3)
    content = {
        "config": VISTAS_R50,
        "state_dict": {**states, "optimizer": {"state": {}, "param_groups": [{"lr": 0.01}]}},
        "training_meta": {"epoch": 84, "best_score": np.float64(0.3799), "global_step": 191250},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def metadata(num_stuff: int, num_thing: int) -> bytes:
    count = num_stuff + num_thing
    meta = {
        "categories": [f"class {k}" for k in range(count)],
        "num_stuff": num_stuff,
        "num_thing": num_thing,
        "palette": [[k, 0, 0] for k in range(count)],
        "original_ids": list(range(count)),
    }
    return msgpack.packb({"meta": meta})


@pytest.fixture(scope="module", params=cases("seamseg", "full_network"), ids=lambda p: p.stem)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.mark.parametrize("form", ["archive", "snapshot"])
def test_imported_checkpoint_gives_the_outputs_of_the_original(
    case: Case, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = json.loads(case.text("cfg"))
    counts = cfg["num_stuff"], cfg["num_thing"]
    content = snapshot(case, cfg["recipe_seed"], counters=form == "snapshot")
    source = tmp_path / ("model_best.pth.tar" if form == "snapshot" else "seamseg_r50_vistas.zip")
    if form == "snapshot":
        source.write_bytes(content)
    else:
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("seamseg_r50_vistas.tar", content)
            archive.writestr("config.ini", VISTAS_R50)
            archive.writestr("metadata.bin", metadata(*counts))
    output = tmp_path / "model.safetensors"
    assert main.run(["import", "seamseg", str(source), "--output", str(output)]) == 0
    told = capsys.readouterr().out
    num_tensors = len(listed_tensors())
    assert f"{num_tensors} keys mapped, 0 missing" in told
    assert "missing in the file" not in told

    experiment = load_experiment(tmp_path / f"{source.name.split('.')[0]}.yaml")
    assert experiment.settings.network == vistas_r50()
    network = network_of(experiment, counts, form)
    weights = load_file(output)
    assert {name: tuple(value.shape) for name, value in weights.items()} == listed_tensors()
    network.load_state_dict(weights)
    check_outputs(case, cfg, network.double().eval())


def network_of(experiment, counts: tuple[int, int], form: str) -> SeamlessNetwork:
    """Return the network of the written experiment; a lone snapshot brings no class list."""
    if form == "archive":
        return SeamlessTask(experiment.settings).build()
    num_stuff, num_thing = counts
    settings = experiment.settings.network
    return SeamlessNetwork(settings, num_stuff=num_stuff, num_thing=num_thing)


def check_outputs(case: Case, cfg: dict, network: SeamlessNetwork) -> None:
    """Compare pyramid, head outputs and predictions with the case, proposals as many as there."""
    pre, post = cfg["overrides"]["val"]
    rpn = network.settings.rpn.model_copy(update={"num_pre_nms_val": pre, "num_post_nms_val": post})
    roi = network.settings.roi.model_copy(
        update={"max_predictions": cfg["overrides"]["max_predictions"]}
    )
    network.settings = network.settings.model_copy(update={"rpn": rpn, "roi": roi})
    pictures = [case[f"img{k}"].double() for k in range(case.numbers("img"))]
    sizes = [(p.shape[1], p.shape[2]) for p in pictures]
    size = (max(h for h, _ in sizes), max(w for _, w in sizes))
    images = torch.stack(
        [F.pad(p, (0, size[1] - p.shape[2], 0, size[0] - p.shape[1])) for p in pictures]
    )
    with torch.no_grad():
        levels = network.features(images)
        for k, level in enumerate(levels):
            check_sample(case, f"fpn_sample/{k}", case[f"fpn_shape/{k}"].tolist(), level)
        found = network.infer(images, sizes)
    for k, one in enumerate(found):
        close(one.boxes_yxyx, case[f"pred{k}/bbx_pred"], rtol=1e-5, atol=1e-4)
        assert torch.equal(one.classes, case[f"pred{k}/cls_pred"])
        close(one.scores, case[f"pred{k}/obj_pred"], rtol=1e-5, atol=1e-6)
        close(one.mask_logits, case[f"pred{k}/msk_pred_f16"], rtol=1e-3, atol=1e-3)
        assert torch.equal(one.semantic_classes, case[f"pred{k}/sem_pred"].long())


def test_key_list_is_the_network_of_its_configuration() -> None:
    listed = listed_tensors()
    things = listed["roi_head.roi_msk.bias"][0]
    stuff = listed["sem_head.conv_sem.bias"][0] - things
    with torch.device("meta"):
        network = SeamlessNetwork(vistas_r50(), num_stuff=stuff, num_thing=things)
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == listed


@pytest.mark.parametrize("name", RESNET_DEPTHS)
def test_torchvision_names_cover_every_depth(name: str) -> None:
    with torch.device("meta"):
        reference = getattr(torchvision.models, name)().state_dict()
        ours = ResNet(RESNET_DEPTHS[name], norm_specs(BodySettings())[0])
    named = {torchvision_resnet_name(key): tuple(v.shape) for key, v in reference.items()}
    unused = {key for key in reference if torchvision_resnet_name(key) is None}
    named.pop(None)
    assert named == {key: tuple(v.shape) for key, v in ours.state_dict().items()}
    assert unused == {k for k in reference if k.startswith("fc.") or k.endswith("_tracked")}
