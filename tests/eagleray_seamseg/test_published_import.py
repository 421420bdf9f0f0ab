"""Files of the original through the command line: what is written can be used, what is unsafe is
refused."""

import io
import stat
import zipfile
from pathlib import Path

import msgpack
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from tests.eagleray_seamseg.original_files import VISTAS_R50
from tests.eagleray_seamseg.test_checkpoint_import import Hostile, snapshot
from tests.eagleray_vision.small_data import photo

from eagleray.cli import main
from eagleray.experiment.load import load_experiment
from eagleray.task import SettingsError
from eagleray_seamseg.checkpoint_import import read_snapshot
from eagleray_seamseg.model.config import NetworkSettings, vistas_r50
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.original_config.experiment import network_values
from eagleray_seamseg.original_config.ini import parse_config
from eagleray_seamseg.published_import import PUBLISHED_MD5, import_original, origin_of
from eagleray_seamseg.task import SeamlessTask
from eagleray_vision.panoptic.errors import SegmentListError
from eagleray_vision.weights.tensors import WeightFileError

SMALL = """
[body]
body = resnet18
num_frozen = 0
[fpn]
out_channels = 8
[rpn]
hidden_channels = 8
"""
NUM_STUFF, NUM_THING = 2, 1
NAMES = ["road", "sky", "car"]


def state(text: str = SMALL, num_stuff: int = NUM_STUFF, num_thing: int = NUM_THING):
    """Return the tensors of a network, all of them 0 and stored as one number."""
    settings = NetworkSettings.model_validate(network_values(parse_config(text, "a.ini")))
    with torch.device("meta"):
        network = SeamlessNetwork(settings, num_stuff=num_stuff, num_thing=num_thing)
    names = [k for k in network.state_dict() if not k.endswith("num_batches_tracked")]
    return {k: torch.zeros(()).expand(network.state_dict()[k].shape) for k in names}


def metadata(names=NAMES, num_stuff: int = NUM_STUFF) -> bytes:
    meta = {
        "categories": names,
        "num_stuff": num_stuff,
        "num_thing": len(names) - num_stuff,
        "palette": [[k, k, k] for k in range(256)],
        "original_ids": list(range(len(names))),
    }
    return msgpack.packb({"meta": meta})


def tar_bytes(config: object = SMALL, **counts: int) -> bytes:
    content = snapshot(state(**counts))
    content["config"] = config
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def published(path: Path, **members: bytes) -> Path:
    content = {
        "model/seamseg.tar": tar_bytes(),
        "model/config.ini": SMALL.encode(),
        "model/metadata.bin": metadata(),
        "__MACOSX/._seamseg.tar": b"litter",
    }
    return archive(path, {**content, **members})


def test_configuration_becomes_an_experiment(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("vistas_r50.ini").write_text(VISTAS_R50 + "[rpn2]\n")
    assert main.run(["import", "seamseg", "vistas_r50.ini"]) == 0
    told = capsys.readouterr().out
    found = load_experiment("vistas_r50.yaml")
    assert found.settings.network == vistas_r50()
    assert not Path("model.safetensors").exists()
    for note in ("section [rpn2]", "data.root: name the folder", "val_interval has no counterpart"):
        assert note in told
        comments = " ".join(
            line.removeprefix("# ")
            for line in Path("vistas_r50.yaml").read_text().splitlines()
            if line.startswith("#")
        )
        assert note in comments
    assert main.run(["import", "seamseg", "vistas_r50.ini"]) == 2
    assert "vistas_r50.yaml is there already" in capsys.readouterr().err


def test_published_archive_becomes_weights_experiment_and_classes(tmp_path, capsys):
    source = published(tmp_path / "seamseg.zip")
    output = tmp_path / "here" / "model.safetensors"
    assert main.run(["import", "seamseg", str(source), "--output", str(output)]) == 0
    told = capsys.readouterr().out
    assert f"{len(state())} keys mapped, 0 missing, 4 not used" in told
    for extra in ("config", "training_meta", "state_dict.optimizer", "state_dict.loss_meter"):
        assert f"not used by the network: {extra}\n" in told
    assert "is not that of the published Vistas model" in told
    found = load_experiment(tmp_path / "here" / "seamseg.yaml")
    task = SeamlessTask(found.settings)
    assert task.label_space().class_names == tuple(NAMES)
    assert task.label_space().num_stuff == NUM_STUFF
    assert found.evaluate.checkpoint == str(output)
    network = task.build()
    network.load_state_dict(load_file(output))
    assert (network.num_stuff, network.num_thing) == (NUM_STUFF, NUM_THING)


def test_imported_model_predicts_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    published(tmp_path / "seamseg.zip")
    Image.fromarray(photo()).save("street.png")
    assert main.run(["import", "seamseg", "seamseg.zip"]) == 0
    options = ["--settings.input.shortest_px", "64", "--output", "out", "--inline"]
    assert main.run(["predict", "seamseg.yaml", "street.png", *options]) == 0
    assert [path for path in Path("out").rglob("*street*") if ".eagleray" not in path.parts]


def test_unpacked_archive_is_imported_as_well(tmp_path, capsys):
    with zipfile.ZipFile(published(tmp_path / "seamseg.zip")) as packed:
        packed.extractall(tmp_path / "downloaded")
    output = tmp_path / "here" / "model.safetensors"
    source = str(tmp_path / "downloaded")
    assert main.run(["import", "seamseg", source, "--output", str(output)]) == 0
    assert "md5 cannot be compared" in capsys.readouterr().out
    found = SeamlessTask(load_experiment(tmp_path / "here" / "downloaded.yaml").settings)
    assert found.label_space().class_names == tuple(NAMES)
    assert set(load_file(output)) == set(state())
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightFileError, match="0 members that could be the weight file"):
        import_original(tmp_path / "empty", tmp_path, vistas_r50())


def test_published_checksum_is_recognized():
    assert "the published Vistas model, licensed CC BY-NC-SA 4.0" in origin_of(PUBLISHED_MD5)
    other = origin_of("0" * 32)
    assert PUBLISHED_MD5 in other
    assert "make sure of where it comes from" in other


def test_snapshot_brings_its_own_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model_last.pth.tar").write_bytes(tar_bytes())
    assert main.run(["import", "seamseg", "model_last.pth.tar"]) == 0
    found = load_experiment("model_last.yaml")
    assert found.settings.network.body.backbone == "resnet18"
    assert found.settings.data.metadata == ""


def test_weights_without_configuration_are_read_for_the_default(tmp_path):
    torch.save(state(VISTAS_R50, 28, 37), tmp_path / "flat.pth")
    found = import_original(tmp_path / "flat.pth", tmp_path, vistas_r50())
    assert len(found.checkpoint.mapped) == 415
    assert found.experiment is None
    assert "brings no configuration" in found.notes[0]


@pytest.mark.parametrize(
    ("without", "layout", "note"),
    [
        (("sem_head.",), "instance", "no semantic head"),
        (("sem_head.", "roi_head.roi_msk.", "roi_head.conv."), "instance", "masks and their AP"),
    ],
)
def test_heads_of_a_snapshot_tell_its_kind(tmp_path, without, layout, note):
    kept = {k: v for k, v in state().items() if not k.startswith(without)}
    content = snapshot(kept)
    content["config"] = SMALL
    torch.save(content, tmp_path / "a.pth.tar")
    found = import_original(tmp_path / "a.pth.tar", tmp_path, vistas_r50())
    assert found.experiment["settings"]["network"]["layout"] == layout
    assert any(note in one for one in found.notes)
    assert set(found.checkpoint.mapped) == set(kept)
    assert all(name.startswith("roi_head") for name in found.checkpoint.missing)


def test_experiment_gives_the_network_for_weights_alone(tmp_path, capsys):
    (tmp_path / "metadata.bin").write_bytes(metadata())
    settings = {"data": {"metadata": str(tmp_path / "metadata.bin")}, "preset": "package"}
    settings["network"] = {
        "body": {"backbone": "resnet18", "num_frozen": 0},
        "fpn": {"out_channels": 8},
        "rpn": {"hidden_channels": 8},
    }
    experiment = tmp_path / "mine.yaml"
    experiment.write_text(yaml.safe_dump({"task": "seamseg", "settings": settings}))
    output = tmp_path / "w.safetensors"
    source = published(tmp_path / "p.zip")
    arguments = ["import", str(experiment), str(source), "--output", str(output)]
    assert main.run(arguments) == 0
    assert not (tmp_path / "p.yaml").exists()
    assert set(load_file(output)) == set(state())
    (tmp_path / "a.ini").write_text(SMALL)
    assert main.run(["import", str(experiment), str(tmp_path / "a.ini")]) == 2
    assert "give the task's name instead" in capsys.readouterr().err
    (tmp_path / "metadata.bin").write_bytes(metadata([*NAMES, "bus"]))
    assert main.run(arguments) == 1
    assert "2 stuff and 1 thing classes, the network has 2 and 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["../evil.tar", "a/../../evil.ini", "/etc/evil", "C:/evil", "a\\..\\b"]
)
def test_members_that_leave_the_archive_are_refused(tmp_path, name):
    source = published(tmp_path / "p.zip", **{name: b"evil"})
    with pytest.raises(WeightFileError, match="leads out of the archive") as refused:
        import_original(source, tmp_path, vistas_r50())
    assert repr(name) in str(refused.value)
    assert not (tmp_path.parent / "evil.tar").exists()


def test_links_in_the_archive_are_refused(tmp_path):
    source = published(tmp_path / "p.zip")
    with zipfile.ZipFile(source, "a") as file:
        link = zipfile.ZipInfo("model/link.ini")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(WeightFileError, match=r"'model/link\.ini': it is a link"):
        import_original(source, tmp_path, vistas_r50())


def test_hostile_pickle_in_the_archive_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"state_dict": {"body": Hostile()}}, buffer, _use_new_zipfile_serialization=False)
    source = published(tmp_path / "p.zip", **{"model/seamseg.tar": buffer.getvalue()})
    with pytest.raises(WeightFileError, match="convert the file to safetensors"):
        import_original(source, tmp_path, vistas_r50())
    assert not Path("touched-by-unpickling").exists()


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        (
            {"model/config.ini": b"[rpn]\nsigma = x\n"},
            SettingsError,
            r"p\.zip/config\.ini: \[rpn\]",
        ),
        ({"model/config.ini": b"\xff\xfe"}, WeightFileError, "cannot be unpacked"),
        ({"model/metadata.bin": b"\xc1"}, SegmentListError, r"p\.zip/metadata\.bin: .*MessagePack"),
        ({"model/metadata.bin": metadata()[:-5]}, SegmentListError, "cut off"),
        ({"model/metadata.bin": b"\x80"}, SegmentListError, "'meta' is missing"),
        (
            {"model/metadata.bin": metadata(["a", "b"], 1)},
            WeightFileError,
            "do not belong together",
        ),
        ({"model/other.tar": b""}, WeightFileError, "2 members that could be the weight file"),
        (
            {"model/seamseg.tar": b"no pickle"},
            WeightFileError,
            "cannot be read as a file of tensors",
        ),
        (
            {"model/config.ini": SMALL.replace("= 8", "= 9").encode()},
            WeightFileError,
            "another shape",
        ),
    ],
)
def test_archives_that_contradict_themselves_are_refused(tmp_path, members, error, message):
    with pytest.raises(error, match=message):
        import_original(published(tmp_path / "p.zip", **members), tmp_path, vistas_r50())


def test_archives_without_weights_or_cut_off_are_refused(tmp_path):
    source = archive(tmp_path / "p.zip", {"config.ini": SMALL.encode()})
    with pytest.raises(WeightFileError, match="0 members that could be the weight file"):
        import_original(source, tmp_path, vistas_r50())
    whole = published(tmp_path / "whole.zip").read_bytes()
    for part in (whole[: len(whole) // 2], b"", whole[:40] + b"\0" * 400 + whole[440:]):
        source.write_bytes(part)
        with pytest.raises(WeightFileError):
            import_original(source, tmp_path, vistas_r50())


def test_archive_without_metadata_says_so(tmp_path):
    source = archive(tmp_path / "p.zip", {"w.tar": tar_bytes(), "config.ini": SMALL.encode()})
    found = import_original(source, tmp_path, vistas_r50())
    assert any("no class names" in note for note in found.notes)
    assert not found.files


def test_configuration_of_another_type_in_a_snapshot_is_passed_over(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes(config={"body": 1}))
    assert read_snapshot(tmp_path / "a.tar").config is None


def test_nothing_is_written_when_the_import_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    published(tmp_path / "p.zip", **{"../x.ini": b""})
    before = sorted(tmp_path.iterdir())
    assert main.run(["import", "seamseg", "p.zip"]) == 1
    assert "'../x.ini'" in capsys.readouterr().err
    assert main.run(["import", "seamseg", "gone.ini"]) == 2
    assert sorted(tmp_path.iterdir()) == before


def test_files_beside_are_never_replaced_by_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    published(tmp_path / "p.zip")
    Path("metadata.bin").write_bytes(b"of another data set")
    assert main.run(["import", "seamseg", "p.zip"]) == 2
    assert "metadata.bin is there already" in capsys.readouterr().err
    assert Path("metadata.bin").read_bytes() == b"of another data set"
    assert not Path("model.safetensors").exists()
    Path("metadata.bin").write_bytes(metadata())
    assert main.run(["import", "seamseg", "p.zip"]) == 0


def test_a_part_of_a_network_needs_an_experiment(tmp_path):
    body = {k: v for k, v in state().items() if k.startswith("body.")}
    torch.save(snapshot(body), tmp_path / "body.pth.tar")
    with pytest.raises(WeightFileError, match=r"give an experiment \(\.yaml\) instead"):
        import_original(tmp_path / "body.pth.tar", tmp_path, vistas_r50())
