"""The whole network, in float64, against the original's numbers."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.cases import cases
from tests.parity.every_key import every_key_is_read  # noqa: F401
from tests.parity.golden import Case as GoldenFile
from tests.parity.golden import close
from torch import Tensor
from torch.nn import functional as F

from eagleray_seamseg.losses import panoptic_losses
from eagleray_seamseg.model.config import vistas_r50
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic
from eagleray_vision.samples.target import PanopticTarget


class Case(GoldenFile):
    """A golden file whose every key must be read by the tests of this module."""

    module = __name__


def recipe_value(name: str, shape: tuple[int, ...], seed: int, case: Case) -> Tensor:
    """Return the tensor that the data's recipe draws for a name."""
    if name.endswith(("running_mean", "running_var")):
        return case[f"stat/{name}"]
    random = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    if len(shape) >= 2:
        value = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("bias"):
        value = 0.1 * random.standard_normal(shape)
    else:
        magnitude = random.uniform(0.5, 1.5, shape)
        value = magnitude * np.where(random.uniform(size=shape) < 0.1, -1, 1)
    return torch.from_numpy(value.astype(np.float32))


class FullNetwork:
    """The whole network with the recipe's weights and the case's batch, in float64."""

    def __init__(self, path: Path) -> None:
        self.case = case = Case(path)
        self.cfg = cfg = json.loads(case.text("cfg"))
        assert cfg["config"] == "vistas_r50"
        changed = cfg["overrides"]
        train, val = changed["rpn pre/post nms train"], changed["val"]
        samples = changed["rpn num_samples"]
        paper = vistas_r50()
        settings = paper.model_copy(
            update={
                "rpn": paper.rpn.model_copy(
                    update={
                        "num_pre_nms_train": train[0],
                        "num_post_nms_train": train[1],
                        "num_pre_nms_val": val[0],
                        "num_post_nms_val": val[1],
                        "num_samples": None if samples == "unlimited" else samples,
                    }
                ),
                "roi": paper.roi.model_copy(update={"max_predictions": changed["max_predictions"]}),
            }
        )
        self.network = SeamlessNetwork(
            settings, num_stuff=cfg["num_stuff"], num_thing=cfg["num_thing"]
        )
        self.network.load_state_dict(
            {
                name: recipe_value(name, tuple(value.shape), cfg["recipe_seed"], case)
                for name, value in self.network.state_dict().items()
            }
        )
        self.network.double().eval().requires_grad_(True)
        pictures = [case[f"img{k}"].double() for k in range(case.numbers("img"))]
        self.sizes = [(p.shape[1], p.shape[2]) for p in pictures]
        self.size = (max(h for h, _ in self.sizes), max(w for _, w in self.sizes))
        self.images = torch.stack(
            [
                F.pad(p, (0, self.size[1] - p.shape[2], 0, self.size[0] - p.shape[1]))
                for p in pictures
            ]
        )
        self.targets = [
            PanopticTarget(
                case[f"gt_idmap{k}"].long(), case[f"gt_cat{k}"], case[f"gt_iscrowd{k}"].bool()
            )
            for k in range(len(pictures))
        ]

    def losses(self) -> dict[str, Tensor]:
        terms = panoptic_losses(
            self.network, self.images, self.sizes, self.targets, generators=None
        )
        return {name: t.factor * t.sum / t.weight for name, t in terms.items()}


@pytest.fixture(scope="module", params=cases("seamseg", "full_network"), ids=lambda p: p.stem)
def full(request: pytest.FixtureRequest) -> FullNetwork:
    return FullNetwork(request.param)


def check_sample(case: Case, key: str, shape: list[int] | None, found: Tensor) -> None:
    expected = case[key]
    if shape is not None:
        assert list(found.shape) == shape
    picked = torch.linspace(0, found.numel() - 1, expected.numel()).long()
    close(found.reshape(-1)[picked], expected, rtol=1e-5, atol=1e-5)


def test_full_network_features_and_head_outputs(full: FullNetwork) -> None:
    case, network = full.case, full.network
    with torch.no_grad():
        for name, x in network.body.backbone(full.images).items():
            check_sample(
                case, f"backbone_sample/{name}", case[f"backbone_shape/{name}"].tolist(), x
            )
        levels = network.features(full.images)
        for k, x in enumerate(levels):
            check_sample(case, f"fpn_sample/{k}", case[f"fpn_shape/{k}"].tolist(), x)
        rpn = network.run_rpn(levels)
        check_sample(case, "rpn_obj_sample", case["rpn_obj_shape"].tolist(), rpn.logits)
        check_sample(case, "rpn_bbx_sample", None, rpn.codes)
        semantic = network.semantic_logits(levels)
        check_sample(case, "sem_logits_sample", case["sem_logits_shape"].tolist(), semantic)
        proposals = network.proposals(rpn, full.sizes)
        close(torch.cat(proposals), case["roi_in_boxes"], rtol=1e-5, atol=1e-5)
        assert [len(p) for p in proposals] == case["roi_in_idx"].bincount().tolist()
        given = [case["roi_in_boxes"][case["roi_in_idx"] == k] for k in range(len(full.sizes))]
        logits, codes, masks = network.roi_outputs(network.roi_features(levels, given, full.size))
        close(logits, case["roi_cls_logits"], rtol=1e-5, atol=1e-5)
        close(codes, case["roi_bbx_logits"], rtol=1e-5, atol=1e-5)
        check_sample(case, "roi_msk_sample", None, masks)


def test_full_network_predictions(full: FullNetwork) -> None:
    case = full.case
    confusion = torch.zeros_like(case["sem_conf"])
    for k, found in enumerate(full.network.infer(full.images, full.sizes)):
        close(found.boxes_yxyx, case[f"pred{k}/bbx_pred"], rtol=1e-5, atol=1e-4)
        assert torch.equal(found.classes, case[f"pred{k}/cls_pred"])
        close(found.scores, case[f"pred{k}/obj_pred"], rtol=1e-5, atol=1e-6)
        close(found.mask_logits, case[f"pred{k}/msk_pred_f16"], rtol=1e-3, atol=1e-3)
        assert torch.equal(found.semantic_classes, case[f"pred{k}/sem_pred"].long())
        truth = full.targets[k].classes[full.targets[k].ids]
        known = truth != 255
        pairs = truth[known] * confusion.shape[1] + found.semantic_classes[known]
        confusion += torch.bincount(pairs, minlength=confusion.numel()).view_as(confusion)
    assert torch.equal(confusion, case["sem_conf"])


def test_full_network_fusion_of_its_predictions(full: FullNetwork) -> None:
    case = full.case
    thresholds = FusionThresholds(*full.cfg["overrides"]["fusion"])
    for k in range(len(full.sizes)):
        boxes, classes, scores, masks = (
            case[f"pred{k}/{name}"] for name in ("bbx_pred", "cls_pred", "obj_pred", "msk_pred_f16")
        )
        fused = fuse_panoptic(
            case[f"pred{k}/sem_pred"].numpy(),
            boxes,
            classes,
            scores,
            masks.float(),
            num_stuff=full.cfg["num_stuff"],
            thresholds=thresholds,
        )
        assert np.array_equal(fused.id_map, case[f"pan{k}/idmap"])
        assert np.array_equal(fused.categories, case[f"pan{k}/cat"])
        assert np.array_equal(fused.is_crowd, case[f"pan{k}/iscrowd"].bool())
        np.testing.assert_allclose(fused.scores, case[f"pan{k}/score"], atol=1e-6)


TIED_MODULES = ("body.", "rpn_head.", "roi_head.conv.", "roi_head.roi_msk.")
"""Modules that get gradients from losses in which rounding breaks exact ties."""

LOSS_TOLERANCE = {"bbx": 0.05, "obj": 5e-4, "roi_msk": 1e-3}


def check_losses(case: Case, prefix: str, found: dict[str, Tensor]) -> None:
    for name, value in found.items():
        expected = case[f"{prefix}/{name}_loss"]
        close(value, expected, rtol=LOSS_TOLERANCE.get(name, 1e-4), atol=0.0)


def test_full_network_losses_with_running_statistics(full: FullNetwork) -> None:
    with torch.no_grad():
        check_losses(full.case, "loss", full.losses())


def test_full_network_training_losses_and_gradients(full: FullNetwork) -> None:
    state = {k: v.clone() for k, v in full.network.state_dict().items()}
    full.network.train()
    try:
        losses = full.losses()
        sum(losses.values()).backward()
    finally:
        full.network.eval().load_state_dict(state)
    check_losses(full.case, "train_loss", losses)
    expected = dict(
        zip(
            json.loads(full.case.text("grad_norm/keys")),
            full.case["grad_norm/values"].tolist(),
            strict=True,
        )
    )
    missing = set(json.loads(full.case.text("grad_norm/missing")))
    parameters = dict(full.network.named_parameters())
    assert set(expected) | missing == set(parameters)
    for name, value in expected.items():
        norm = float(parameters[name].grad.norm())
        tolerance = 1e-2 if name.startswith(TIED_MODULES) else 1e-3
        assert norm == pytest.approx(value, rel=tolerance, abs=1e-6), name
    full.network.zero_grad(set_to_none=True)
