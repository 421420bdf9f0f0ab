"""Published files: whole, of SAN, of CLIP alone, damaged, hostile, and with foreign objects."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.eagleray_ops.small_network import ADAPTER, FORM, small_network, write_small_clip

from eagleray.task import SettingsError
from eagleray_ops.checkpoint_import import convert_checkpoint, import_original, read_checkpoint
from eagleray_ops.model.config import AdapterSettings, ClipSettings
from eagleray_ops.model.network import named_architecture
from eagleray_vision.weights.foreign_checkpoint import read_foreign_checkpoint
from eagleray_vision.weights.tensors import WeightFileError

SPLIT = 3
OURS_TO_ORIGINAL = {
    "ln_1": ("ln1", "norms.0"),
    "ln_2": ("ln2", "norms.1"),
    "attn": ("attn.attn", "attentions.0.attn"),
    "mlp.c_fc": ("ffn.layers.0.0", "ffns.0.layers.0.0"),
    "mlp.c_proj": ("ffn.layers.1", "ffns.0.layers.1"),
}
ADAPTER_PARTS = {
    "patches.": "patch_embed.projection.",
    "dao_before.": "dao_list.",
    "convolution.": "dcn_v3.",
    "depthwise.": "dw_conv.0.",
    "dcn_v3.norm.": "dcn_v3.dw_conv.1.1.",
    "offsets.": "offset.",
    "dcn_v3.weights.": "dcn_v3.mask.",
    "dcn_v3.values.": "dcn_v3.input_proj.",
    "dcn_v3.output.": "dcn_v3.output_proj.",
    "center.": "center_feature_scale_proj_",
    "attention.": "attn.attn.",
    "expand.": "ffn.layers.0.0.",
    "reduce.": "ffn.layers.1.",
    "pixel_mlp.": "pix_mlp.",
    "bias_mlp.": "attn_mlp.",
    "bias_scale.": "bias_scaling.",
}


def original_adapter_name(name):
    """Spell a name of the adapter as the original does, by a list of its own."""
    whole = {
        "positions": "pos_embed",
        "queries": "query_embed",
        "query_positions": "query_pos_embed",
    }
    if name in whole:
        return whole[name]
    if name.startswith("layers."):
        name = f"encode_{name}".replace(".norm1.", ".ln1.").replace(".norm2.", ".ln2.")
    if name.startswith("fusions."):
        name = name.replace("fusions.", "conv_clips.")
        return name.replace(".norm.", ".0.").replace(".projection.", ".1.conv.")
    for ours, theirs in ADAPTER_PARTS.items():
        name = name.replace(ours, theirs)
    return name


def original_block(name, first, spelling):
    number, rest = name.removeprefix("transformer.resblocks.").split(".", 1)
    for ours, theirs in OURS_TO_ORIGINAL.items():
        if rest.startswith(f"{ours}."):
            return f"{int(number) - first}.{theirs[spelling]}{rest.removeprefix(ours)}"
    raise AssertionError(name)


def original_state(network, split=SPLIT):
    """Return a network's tensors as the original stores them."""
    state = {}
    for name, value in network.state_dict().items():
        if name == "background":
            state["text_encoder.bg_embed"] = value
        elif name.startswith("adapter."):
            theirs = original_adapter_name(name.removeprefix("adapter."))
            state[f"decode_head.side_adapter_network.{theirs}"] = value
        elif name.startswith("clip.visual."):
            state |= original_image_tensor(name.removeprefix("clip.visual."), value, split)
        else:
            own = name.removeprefix("clip.")
            if own.startswith("transformer."):
                own = f"transformer.{original_block(own, 0, 1)}"
            state[f"text_encoder.{own}"] = value
    return state


def original_image_tensor(name, value, split):
    image, head = "image_encoder.", "decode_head.rec_with_attnbias."
    if name.startswith("transformer."):
        if int(name.split(".")[2]) < split:
            return {f"{image}layers.{original_block(name, 0, 0)}": value}
        return {f"{head}layers.{original_block(name, split, 1)}": value}
    if name == "class_embedding":
        return {f"{image}cls_token": value[None, None]}
    if name == "positional_embedding":
        return {f"{image}pos_embed": value[None]}
    if name == "conv1.weight":
        return {f"{image}patch_embed.projection.weight": value}
    if name == "proj":
        return {f"{head}proj.weight": value.T.contiguous()}
    return {f"{image if name.startswith('ln_pre') else head}{name}": value}


@pytest.fixture
def clip(tmp_path):
    return ClipSettings(model="", weights=str(write_small_clip(tmp_path / "clip.safetensors")))


@pytest.fixture
def save(tmp_path):
    def write(state, name="ops.pth"):
        torch.save(state, tmp_path / name)
        return tmp_path / name

    return write


def converted(path, clip, **adapter):
    settings = AdapterSettings.model_validate({**ADAPTER, **adapter})
    return convert_checkpoint(read_checkpoint(path), clip, settings)


@pytest.mark.parametrize("spelling", ["dao", "dcnv4"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_every_value_arrives(save, clip, spelling, wrapped):
    network = small_network(dao={"groups": 3, "before_fusion": (0, 1), "after_fusion": (2,)})
    state = {
        k.replace("dao_after.", "dao_after_fusion_list.").replace("dao_", f"{spelling}_"): v
        for k, v in original_state(network).items()
    }
    path = save({"state_dict": state, "meta": {"epoch": 3}} if wrapped else state)
    found = converted(path, clip, dao={"groups": 3, "before_fusion": (0, 1), "after_fusion": (2,)})
    own = network.state_dict()
    assert found.missing == () and found.extra == (("meta",) if wrapped else ())
    assert set(found.state_dict) == set(own)
    assert all(torch.equal(found.state_dict[name], own[name]) for name in own)


def test_objects_of_the_training_program_are_left_out(save, clip, monkeypatch):
    """mmengine stores its loss histories, pickled with their class and its functions."""
    module = types.ModuleType("mmengine_stand_in.history")

    class History:
        def __init__(self):
            self.values = np.arange(5.0)
            self.statistics = {"min": History.smallest}

        @staticmethod
        def smallest(values):
            raise AssertionError("nothing of the file is called")

        def __reduce__(self):
            return (History, (), self.__dict__)

    History.__module__, History.__qualname__ = module.__name__, "History"
    module.History = History
    History.smallest.__module__, History.smallest.__qualname__ = module.__name__, "smallest"
    module.smallest = History.smallest
    monkeypatch.setitem(sys.modules, "mmengine_stand_in", types.ModuleType("mmengine_stand_in"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    hub = {"log_scalars": {"loss": History()}, "best": np.float64(3.5)}
    state = original_state(small_network())
    path = save({"state_dict": state, "message_hub": hub, "optimizer": {"lr": 1}, "meta": {}})
    monkeypatch.delitem(sys.modules, module.__name__)
    monkeypatch.delitem(sys.modules, "mmengine_stand_in")
    found = converted(path, clip)
    assert found.extra == ("message_hub", "meta", "optimizer")


def test_nothing_of_a_file_is_run(save, tmp_path):
    marker = tmp_path / "ran"

    class Writes:
        def __reduce__(self):
            return (type(marker).touch, (marker,))

    path = save({"state_dict": {"a": torch.zeros(1)}, "extra": Writes()})
    content = read_foreign_checkpoint(path)
    assert not marker.exists() and set(content) == {"state_dict", "extra"}
    assert torch.equal(content["state_dict"]["a"], torch.zeros(1))


def test_a_missing_clip_is_refused(save, clip):
    state = original_state(small_network())
    for part in ("text_encoder.transformer", "image_encoder.layers.1.", "decode_head.rec_with"):
        rest = {k: v for k, v in state.items() if not k.startswith(part)}
        with pytest.raises((WeightFileError, SettingsError), match="CLIP"):
            converted(save(rest), clip)


def test_san_brings_all_but_the_deformable_blocks(save, clip):
    network = small_network()
    state = {k: v for k, v in original_state(network).items() if ".dao_list." not in k}
    found = converted(save(state), clip)
    blocks = {k for k in network.state_dict() if ".dao_before." in k}
    assert set(found.missing) == blocks and blocks
    del state["decode_head.side_adapter_network.conv_clips.0.0.bias"]
    with pytest.raises(WeightFileError, match=r"fusions\.0\.norm\.bias"):
        converted(save(state), clip)


def test_some_of_the_deformable_blocks_are_too_few(save, clip):
    state = original_state(small_network())
    rest = {k: v for k, v in state.items() if ".dao_list.2." not in k}
    with pytest.raises(WeightFileError, match=r"dao_before\.2"):
        converted(save(rest), clip)


def test_other_tensors_and_shapes_are_refused(save, clip):
    state = original_state(small_network())
    with pytest.raises(WeightFileError, match="unknown"):
        converted(save({**state, "decode_head.more": torch.zeros(1)}), clip)
    with pytest.raises(WeightFileError, match="another shape"):
        converted(save({**state, "text_encoder.bg_embed": torch.zeros(1, 3)}), clip)
    with pytest.raises(WeightFileError, match="no checkpoint of OPS"):
        read_checkpoint(save({"a.weight": torch.zeros(1)}))


def test_clip_divided_elsewhere_is_refused(save, clip):
    path = save(original_state(small_network(), split=2))
    with pytest.raises(SettingsError, match="features_after"):
        converted(path, clip)


def test_a_clip_alone_leaves_the_adapter_to_training(clip):
    found = converted(Path(clip.weights), clip)
    assert set(found.missing) == {
        k for k in small_network().state_dict() if not k.startswith("clip.")
    }


@pytest.mark.parametrize("kernel", [3, 5])
def test_sizes_are_read_off_the_file(save, monkeypatch, kernel):
    monkeypatch.setattr(
        "eagleray_ops.checkpoint_import.named_architecture",
        lambda name: FORM if name.startswith("ViT-B-16") else named_architecture(name),
    )
    monkeypatch.setattr("eagleray_ops.checkpoint_import.clip_form", lambda clip: FORM)
    dao = {"groups": 3, "depthwise_kernel": kernel, "before_fusion": (0, 2)}
    network = small_network(heads=6, dao=dao, supervised_layers=(3,))
    files = import_original(save(original_state(network)))
    adapter = AdapterSettings.model_validate(files.experiment["settings"]["adapter"])
    assert adapter.dao.depthwise_kernel == kernel and adapter.dao.before_fusion == (0, 2)
    assert (adapter.width, adapter.layers, adapter.queries, adapter.grid) == (24, 4, 6, (4, 4))
    assert files.checkpoint.missing == ()


def test_sizes_that_no_network_has_are_refused(save, monkeypatch):
    monkeypatch.setattr("eagleray_ops.checkpoint_import.named_architecture", lambda name: FORM)
    state = original_state(small_network())  # 24 channels are no multiple of the 6 released heads
    cut = {k: v for k, v in state.items() if "side_adapter_network.query_embed" not in k}
    with pytest.raises(WeightFileError, match="queries"):
        import_original(save(cut))
