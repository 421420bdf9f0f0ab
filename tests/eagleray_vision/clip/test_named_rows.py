"""Tables of word vectors: what they know, what they refuse, and the real ones' own checks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from eagleray_vision.clip.named_rows import NamedRows, NamedRowsError, read_named_rows
from eagleray_vision.clip.tokenizer import PromptError
from eagleray_vision.clip.vocabulary import Vocabulary

REAL = Path(os.environ.get("EAGLERAY_DATA", "")) / "clip_text_embeddings"
needs_real = pytest.mark.skipif(
    "EAGLERAY_DATA" not in os.environ or not REAL.is_dir(), reason="needs EAGLERAY_DATA"
)
VOC_AS_COCO = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
NUM_THINGS = 80


def write(folder, names, rows, stem="toy"):
    (folder / f"{stem}_names.json").write_text(json.dumps(names))
    np.save(folder / f"{stem}_rows.npy", rows)
    return folder / f"{stem}_rows.npy"


def test_rows_by_name_of_length_one(tmp_path):
    table = read_named_rows(write(tmp_path, ["car", "Ice cream van"], np.eye(2, 4) * 3))
    assert table.embed(["ice cream van ", "car"]).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert table.embed_dim == 4 and table.checksum.startswith("sha256:")
    rows = Vocabulary.parse("car, ice cream van").embed(table)
    assert rows.classify(torch.tensor([[0.1, 5.0, 0, 0]])).tolist() == [1]


def test_other_words_are_refused_with_the_nearest():
    table = NamedRows(["traffic light", "street light", "car"], torch.eye(3), "table.npy")
    with pytest.raises(PromptError, match=r"table.npy has no vector of 'light'.*traffic light"):
        table.embed(["car", "light"])
    with pytest.raises(PromptError, match=r"'xyz'.*none is near"):
        table.embed(["xyz"])
    with pytest.raises(PromptError, match="no word"):
        table.embed([])


def test_another_width_is_refused():
    table = NamedRows(["car"], torch.ones(1, 768), "large.npy")
    table.require_width(768, "the image tower")
    with pytest.raises(NamedRowsError, match=r"vectors of 768 channels, the image tower of 512"):
        table.require_width(512, "the image tower")


@pytest.mark.parametrize(
    ("names", "rows", "reason"),
    [
        (["a"], np.ones((2, 3)), "one row per name"),
        ([], np.ones((0, 3)), "one row per name"),
        (["a", "A "], np.ones((2, 3)), "a name twice"),
        (["a", "b"], np.array([[1.0, 0], [0, 0]]), "row of 'b' is 0"),
        (["a"], np.array([[np.nan, 1]]), "row of 'a' is 0 or not finite"),
        ({"a": 0}, np.ones((1, 3)), "no list of words"),
        (["a"], np.ones((1, 3), np.int64), "no floating-point"),
        (["a"], np.array([None]), "cannot be read"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path, names, rows, reason):
    with pytest.raises(NamedRowsError, match=reason):
        read_named_rows(write(tmp_path, names, rows))


def test_names_are_found_beside_the_rows_or_asked_for(tmp_path):
    path = write(tmp_path, ["a"], np.ones((1, 2)))
    (tmp_path / "t_names.json").write_text("[]")
    with pytest.raises(NamedRowsError, match=r"lie 2 lists of names"):
        read_named_rows(path)
    assert read_named_rows(path, tmp_path / "toy_names.json").names == ("a",)
    with pytest.raises(NamedRowsError, match="lie 0 lists"):
        read_named_rows(tmp_path / "missing.npy")


@needs_real
@pytest.mark.parametrize("pair", [("single", "multi"), ("multi", "single")])
def test_real_rows_of_171_names_find_themselves_in_the_other_table(pair):
    ours, other = (read_named_rows(REAL / f"coco_stuff171_vitb16_{one}.npy") for one in pair)
    found = Vocabulary.parse(list(ours.names)).embed(ours).classify(other.rows)
    right = found == torch.arange(len(ours.names))
    assert len(right) == 171
    assert right[:NUM_THINGS].all(), "the 80 things"
    wrong = [(other.names[k], ours.names[int(found[k])]) for k in (~right).nonzero()[:, 0]]
    assert not wrong


@needs_real
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_real_rows_of_voc_land_on_their_names(kind):
    coco = read_named_rows(REAL / f"coco_stuff171_vitb16_{kind}.npy")
    voc = read_named_rows(REAL / "voc20_vitb16_single.npy")
    found = Vocabulary.parse(list(coco.names)).embed(coco).classify(voc.rows)
    named = {name: coco.names[int(k)] for name, k in zip(voc.names, found, strict=True)}
    assert named == {name: VOC_AS_COCO.get(name, name) for name in voc.names}


@needs_real
def test_real_rows_of_unequal_length_are_set_to_one():
    lvis = read_named_rows(REAL / "lvis1203_vitb32_a_cname.npy")
    torch.testing.assert_close(lvis.rows.norm(dim=1), torch.ones(1203))
