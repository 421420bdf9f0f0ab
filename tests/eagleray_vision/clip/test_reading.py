"""CLIPs of every source are read whole, without running anything, or refused with a reason."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import warnings
import zipfile

import open_clip
import pytest
import torch
from tests.eagleray_vision.clip.small_clip import SMALL, WORDS, save_small, small_model

from eagleray.task import SettingsError
from eagleray_vision.clip.architecture import build_clip, read_architecture
from eagleray_vision.clip.published import OPENAI_VITS, openai_clip_download
from eagleray_vision.clip.reading import read_clip
from eagleray_vision.clip.tower import ClipImageTower
from eagleray_vision.weights.tensors import WeightFileError

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
BPE = dataclasses.replace(SMALL, vocab_size=49408, context_length=77)


def traced_archive(path, model, form):
    """Write a CLIP as OpenAI wrote theirs: half precision, traced, with numbers beside."""
    for name in ("input_resolution", "context_length", "vocab_size"):
        vars(model).pop(name, None)
        model.register_buffer(name, torch.tensor(77))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        texts = torch.ones(1, form.context_length, dtype=torch.long)
        traced = torch.jit.trace(model, (torch.zeros(1, 3, 32, 32), texts))
        traced.half().save(str(path))
    return path


def assert_same_images(clip, model, *, atol=0.0):
    with torch.no_grad():
        expected = model.float().encode_image(IMAGES)
        torch.testing.assert_close(clip.model.encode_image(IMAGES), expected, rtol=0, atol=atol)


def test_safetensors_say_activation_and_words(tmp_path):
    clip = read_clip(save_small(tmp_path / "clip.safetensors"))
    assert clip.architecture == SMALL
    assert clip.tokenizer.words == WORDS
    assert clip.checksum.startswith("sha256:")
    assert not clip.model.training
    assert_same_images(clip, small_model())


def test_text_of_a_clip_read_equals_that_of_the_network_written(tmp_path):
    clip = read_clip(save_small(tmp_path / "clip.safetensors"))
    ids = clip.tokenizer(["a photo of a red car.", "tree"])
    with torch.no_grad():
        torch.testing.assert_close(clip.model.encode_text(ids), small_model().encode_text(ids))


@pytest.mark.parametrize("wrap", [dict, lambda t: {"state_dict": t, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_open_clip_files_with_what_is_around_them(tmp_path, wrap, prefix):
    model = small_model(BPE)
    torch.save(wrap({prefix + k: v for k, v in model.state_dict().items()}), tmp_path / "c.pt")
    clip = read_clip(tmp_path / "c.pt", quick_gelu=True)
    assert clip.architecture == BPE
    assert_same_images(clip, model)
    ids = clip.tokenizer(["a photo of a cat."])
    assert torch.equal(ids, open_clip.tokenize(["a photo of a cat."]))


def test_activation_is_asked_for_where_nothing_tells_and_read_where_something_does(tmp_path):
    path = tmp_path / "c.pt"
    torch.save(small_model(BPE).state_dict(), path)
    with pytest.raises(WeightFileError, match=r"does not say with which activation.*quick_gelu"):
        read_clip(path)
    assert not read_clip(path, quick_gelu=False).architecture.quick_gelu
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    assert read_clip(path).architecture.quick_gelu


def test_an_activation_that_the_file_denies_is_refused(tmp_path):
    path = tmp_path / "c.pt"
    torch.save(small_model(BPE).state_dict(), path)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    assert read_clip(path, quick_gelu=True).architecture.quick_gelu
    for file in (path, save_small(tmp_path / "small.safetensors")):
        with pytest.raises(SettingsError, match="trained with QuickGELU, asked for is GELU"):
            read_clip(file, quick_gelu=False)


def test_torchscript_archive_is_read_as_tensors(tmp_path, monkeypatch):
    model = small_model(BPE)
    path = traced_archive(tmp_path / "archive.pt", model, BPE)

    def refuse(*_, **__):
        raise AssertionError("its code was loaded")

    monkeypatch.setattr(torch.jit, "load", refuse)
    clip = read_clip(path)
    assert clip.architecture == BPE
    assert_same_images(clip, model, atol=1e-6)


class Runs:
    def __reduce__(self):
        return (print, ("this ran",))


def hostile_archive(path, payload):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/constants.pkl", pickle.dumps(()))
        archive.writestr("a/data.pkl", payload)
        archive.writestr("a/data/0", bytes(16))
    return path


def module_pickle(tensor_lines: bytes) -> bytes:
    return b"c__torch__.M\nM\n)\x81}X\x01\x00\x00\x00w" + tensor_lines + b"sb."


def tensor_pickle(size: bytes, stride: bytes, offset: bytes = b"K\x00", count: bytes = b"K\x04"):
    storage = (
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    )
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    tail = offset + b"(" + size + b"t(" + stride + b"t\x89}tR"
    return rebuild + storage + count + b"tQ" + tail


def test_hand_made_archive_is_read(tmp_path):
    from eagleray_vision.weights.torchscript import read_torchscript

    path = hostile_archive(
        tmp_path / "a.pt", module_pickle(tensor_pickle(b"K\x02K\x02", b"K\x02K\x01"))
    )
    assert read_torchscript(path)["w"].shape == (2, 2)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (pickle.dumps(Runs()), "asks for builtins.print"),
        (pickle.dumps({"a": 1}), "holds a dict"),
        (module_pickle(b"cos\nsystem\nX\x02\x00\x00\x00id\x85R"), "asks for os.system"),
        (module_pickle(tensor_pickle(b"K\x05", b"K\x01")), "reaches beyond"),
        (module_pickle(tensor_pickle(b"K\x02", b"K\x01", b"K\x03")), "reaches beyond"),
        (module_pickle(tensor_pickle(b"J\x00\x00\x00\x40", b"K\x00")), "reaches beyond"),
        (module_pickle(tensor_pickle(b"J\xff\xff\xff\xff", b"K\x01")), "a tensor of size"),
        (module_pickle(tensor_pickle(b"K\x02", b"K\x01", count=b"K\x09")), "has 16 bytes"),
        (b"\x80\x02", "EOFError"),
        (b"not a pickle", "cannot be read"),
    ],
)
def test_hostile_archives_are_refused(tmp_path, payload, reason, capsys):
    path = hostile_archive(tmp_path / "hostile.pt", payload)
    with pytest.raises(WeightFileError, match=reason):
        read_clip(path)
    assert capsys.readouterr().out == ""


def test_archive_that_would_unpack_to_more_than_it_is(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/constants.pkl", pickle.dumps(()))
        archive.writestr("a/data.pkl", bytes(1 << 20))
    with pytest.raises(WeightFileError, match="would unpack"):
        read_clip(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("visual.ln_post.bias"), r"1 missing \(visual.ln_post.bias\)"),
        (lambda t: t.update(odd=torch.zeros(1)), r"1 unknown \(odd\)"),
        (lambda t: t.update({"ln_final.bias": torch.zeros(5)}), r"1 misshapen \(ln_final.bias"),
        (lambda t: t["visual.proj"].fill_(float("nan")), "NaN"),
        (lambda t: t.pop("visual.proj"), "1 of 13 tensors that tell its form are missing"),
        (lambda t: t.update({"visual.layer1.0.conv1.weight": torch.zeros(1)}), "residual network"),
        (lambda t: t.update({"visual.positional_embedding": torch.zeros(16, 64)}), "square grid"),
        (lambda t: t.update({"visual.positional_embedding": torch.zeros(64)}), "2 dimensions"),
    ],
)
def test_what_is_no_whole_clip_is_refused_by_name(tmp_path, change, reason):
    tensors = dict(small_model(BPE).state_dict())
    change(tensors)
    torch.save(tensors, tmp_path / "c.pt")
    with pytest.raises(WeightFileError, match=reason):
        read_clip(tmp_path / "c.pt", quick_gelu=True)


def test_short_vocabulary_needs_its_words(tmp_path):
    with pytest.raises(WeightFileError, match=r"embeds 19 tokens, CLIP's vocabulary has 49408"):
        read_clip(save_small(tmp_path / "a.safetensors", tokenizer_words=None))
    with pytest.raises(WeightFileError, match="embeds 19 tokens, its 2 words need 5"):
        read_clip(save_small(tmp_path / "b.safetensors", tokenizer_words='["a", "car"]'))
    with pytest.raises(WeightFileError, match="no list of words"):
        read_clip(save_small(tmp_path / "c.safetensors", tokenizer_words="{"))


def test_unknown_name_says_what_is_known():
    with pytest.raises(SettingsError, match=r"there is no CLIP 'ViT-B/99'.*'toy'"):
        read_clip("ViT-B/99")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ViT-B-32-quickgelu", (224, 32, 768, 12, 12, 512, 8)),
        ("ViT-B-16-quickgelu", (224, 16, 768, 12, 12, 512, 8)),
        ("ViT-L-14-quickgelu", (224, 14, 1024, 24, 16, 768, 12)),
        ("ViT-L-14-336-quickgelu", (336, 14, 1024, 24, 16, 768, 12)),
        ("ViT-H-14", (224, 14, 1280, 32, 16, 1024, 16)),
    ],
)
def test_architectures_of_published_clips_follow_from_their_tensors(name, expected):
    with torch.device("meta"):
        model = open_clip.model.CLIP(**open_clip.get_model_config(name))
    form = read_architecture(model.state_dict(), quick_gelu="quick" in name, source=name)
    found = (form.image_size, form.patch_size, form.width, form.layers, form.heads)
    assert (*found, form.embed_dim, form.text_heads) == expected
    with torch.device("meta"):
        again = build_clip(form).state_dict()
    assert {k: v.shape for k, v in again.items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }


def test_tower_equals_open_clip(tmp_path):
    clip = read_clip(save_small(tmp_path / "clip.safetensors"))
    tower = ClipImageTower(clip.visual)
    with torch.no_grad():
        torch.testing.assert_close(tower.pooled(IMAGES), clip.model.encode_image(IMAGES))


@pytest.mark.parametrize("name", OPENAI_VITS)
def test_downloads_of_openai_carry_their_checksum(name):
    download = openai_clip_download(name)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", download.checksum)
    assert download.file.startswith(name) and download.url.endswith(download.file)


def test_unknown_download_is_refused():
    with pytest.raises(SettingsError, match=r"no 'RN50'; known are ViT-B-32"):
        openai_clip_download("RN50")
