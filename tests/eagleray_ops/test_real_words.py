"""Real text vectors of CLIP through the classifier: neighbors that independent tables agree on."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.eagleray_ops.small_network import ADAPTER, FORM

from eagleray_ops.model.config import AdapterSettings, ClipSettings
from eagleray_ops.model.network import OpsNetwork
from eagleray_vision.datasets.coco_stuff import COCO_STUFF

SPELLED = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""Names of PASCAL VOC that COCO-Stuff writes otherwise."""

pytestmark = pytest.mark.skipif(
    "EAGLERAY_DATA" not in os.environ, reason="EAGLERAY_DATA is not set"
)


def read(name):
    path = Path(os.environ["EAGLERAY_DATA"]) / "clip_text_embeddings" / name
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return torch.from_numpy(np.load(path)).float()


def test_neighbors_of_real_words():
    single, several = (
        read("coco_stuff171_vitb16_single.npy"),
        read("coco_stuff171_vitb16_multi.npy"),
    )
    names = read("coco_stuff171_names.json")
    assert tuple(names) == COCO_STUFF.class_names
    torch.manual_seed(0)
    clip, adapter = ClipSettings(), AdapterSettings.model_validate(ADAPTER)
    form = replace(FORM, embed_dim=single.shape[1])
    network = OpsNetwork(clip, adapter, form, faithful=True)
    with torch.inference_mode():
        # vectors of any length, as masks have them, meet rows of length 1 and the background
        found = network.classify(3 * single, several)
        assert found.shape == (171, 172) and found.argmax(-1).tolist() == list(range(171))
        voc = network.classify(read("voc20_vitb16_single.npy"), single).argmax(-1)
    voc_names = read("voc20_names.json")
    assert [names[k] for k in voc] == [SPELLED.get(name, name) for name in voc_names]
