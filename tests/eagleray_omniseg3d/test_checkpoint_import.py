"""Checkpoints in the original's layout, written here from the specification's key list."""

import pickle
from argparse import Namespace

import pytest
import torch

from eagleray_omniseg3d.checkpoint_import import CheckpointError
from eagleray_omniseg3d.settings import OmniSeg3DSettings
from eagleray_omniseg3d.task import OmniSeg3DTask

SIZES = {"num_levels": 4, "log2_table_size": 9, "base_resolution": 4, "finest_resolution": 32}


@pytest.fixture
def task():
    return OmniSeg3DTask(OmniSeg3DSettings(field={**SIZES, "grid_size": 16}))


def published(task, *, slim=False):
    """Entries of a checkpoint, all values telling."""
    model = task.build()
    grid = model.field.geometry_grid.table.numel()
    encoded = model.field.geometry_grid.layout.num_outputs
    sizes = {
        "xyz_encoder": grid,
        "sigma_net": encoded * 64 + 64 * 16,
        "rgb_net": 32 * 64 + 64 * 64 + 16 * 64,
        "sam_encode_net": encoded * 64 + 64 * 16 + grid,
        "dir_encoder": 0,
    }
    entries = {f"model.{name}.params": torch.randn(n) for name, n in sizes.items()}
    entries["model.density_bitfield"] = torch.randint(255, (16**3 // 8,)).to(torch.uint8)
    entries["model.aabb_min"], entries["model.aabb_max"] = torch.zeros(3), torch.ones(3)
    entries["model.center"] = torch.zeros(1, 3)
    if not slim:
        entries["directions"] = torch.zeros(10, 3)
        entries["model.density_grid"] = torch.rand(1, 16**3)
        entries["model.grid_coords"] = torch.zeros(16**3, 3, dtype=torch.int32)
    return entries


@pytest.mark.parametrize("slim", [True, False])
def test_full_and_slim_checkpoints_load(task, tmp_path, slim):
    entries = published(task, slim=slim)
    whole = {"state_dict": entries, "epoch": 4, "hyper_parameters": Namespace(scale=0.5)}
    torch.save(entries if slim else whole, tmp_path / "a.ckpt")
    found = task.import_checkpoint(tmp_path / "a.ckpt")
    assert set(found.mapped) | set(found.extra) == set(entries)
    assert not set(found.mapped) & set(found.extra)
    assert "occupancy.count_grid" in found.missing
    assert ("occupancy.density_grid" in found.missing) == slim
    model = task.build()
    missing, unexpected = model.load_state_dict(dict(found.state_dict), strict=False)
    assert sorted(missing) == sorted(found.missing) and not unexpected
    table = entries["model.xyz_encoder.params"].reshape(-1, 2)
    assert torch.equal(model.field.geometry_grid.table, table)
    flat = entries["model.sam_encode_net.params"]
    assert torch.equal(model.field.feature_net.weights[0], flat[: 64 * 8].reshape(64, 8))
    assert torch.equal(model.field.feature_grid.table.flatten(), flat[-table.numel() :])
    assert torch.equal(
        model.field.color_net.flat()[: 32 * 64], entries["model.rgb_net.params"][: 32 * 64]
    )
    assert model.field.box.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_another_scale_is_refused(task, tmp_path):
    entries = published(task, slim=True) | {"model.half_size": torch.full((1, 3), 2.0)}
    torch.save(entries, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"scale 2, the settings have field\.scale 0\.5"):
        task.import_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("kind", [dict, lambda **values: Namespace(**values)])
def test_another_feature_width_is_refused(task, tmp_path, kind):
    flags = kind(scale=0.5, semantic_dim=8)
    torch.save({"state_dict": published(task), "hyper_parameters": flags}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"semantic_dim 8.*field\.feature_dim 16"):
        task.import_checkpoint(tmp_path / "a.ckpt")


def test_trained_features_beyond_the_width_are_refused(tmp_path):
    narrow = OmniSeg3DTask(OmniSeg3DSettings(field={**SIZES, "grid_size": 16, "feature_dim": 12}))
    entries = published(narrow)
    torch.save(entries, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"more than 12 outputs; check field\.feature_dim"):
        narrow.import_checkpoint(tmp_path / "a.ckpt")
    last = entries["model.sam_encode_net.params"][8 * 64 :][: 16 * 64].reshape(16, 64)
    last[12:] *= 0.05  # As they began: outputs that only fill up are never trained.
    torch.save(entries, tmp_path / "a.ckpt")
    state = narrow.import_checkpoint(tmp_path / "a.ckpt").state_dict
    assert torch.equal(state["field.feature_net.weights.1"], last[:12])


def test_weights_of_padding_inputs_are_left_out_or_refused(task, tmp_path):
    """Four levels give 8 inputs; tiny-cuda-nn's own vectors have 16."""
    entries = published(task)
    table = entries["model.xyz_encoder.params"]
    sigma, feature = torch.randn(64, 16), torch.randn(64, 16)
    sigma[:, 8:] = 0
    entries["model.sigma_net.params"] = torch.cat([sigma.flatten(), torch.randn(16 * 64)])
    parts = [feature.flatten(), torch.randn(16 * 64), torch.randn(len(table))]
    entries["model.sam_encode_net.params"] = torch.cat(parts)
    torch.save(entries, tmp_path / "a.ckpt")
    state = task.import_checkpoint(tmp_path / "a.ckpt").state_dict
    assert torch.equal(state["field.geometry_net.weights.0"], sigma[:, :8])
    assert torch.equal(state["field.feature_net.weights.0"], feature[:, :8])  # It is fed zeros.
    assert torch.equal(state["field.feature_grid.table"].flatten(), parts[2])
    entries["model.sigma_net.params"][15] = 1.0
    torch.save(entries, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="feeds with ones"):
        task.import_checkpoint(tmp_path / "a.ckpt")


def test_other_sizes_are_named(task, tmp_path):
    entries = published(task)
    entries["model.xyz_encoder.params"] = torch.zeros(7)
    torch.save(entries, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="xyz_encoder"):
        task.import_checkpoint(tmp_path / "a.ckpt")
    entries = published(task)
    entries["model.density_bitfield"] = torch.zeros(3, dtype=torch.uint8)
    torch.save(entries, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="density_bitfield"):
        task.import_checkpoint(tmp_path / "a.ckpt")


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damaged_files(task, tmp_path, content):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.ckpt"):
        task.import_checkpoint(tmp_path / "a.ckpt")


def test_unknown_pickles_are_refused(task, tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError):
        task.import_checkpoint(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        task.import_checkpoint(tmp_path / "b.ckpt")
    torch.save([1, 2], tmp_path / "c.ckpt")
    with pytest.raises(CheckpointError, match="a dictionary of tensors"):
        task.import_checkpoint(tmp_path / "c.ckpt")
    assert "executed" not in capsys.readouterr().out
