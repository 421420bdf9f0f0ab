"""Golden files of OPS: inputs, parameters by the original's names, outputs."""

from math import isqrt

from tests.parity.golden import Case
from torch import Tensor, nn

from eagleray_ops.model.config import AdapterSettings, DaoSettings
from eagleray_ops.model.original_names import adapter_name

PARAMETER = "param."


class OpsCase(Case):
    """A case whose parameters are called ``param.<name within the module>``."""

    def parameters(self) -> dict[str, Tensor]:
        return {
            name.removeprefix(PARAMETER): self[name]
            for name in self._names
            if name.startswith(PARAMETER)
        }

    def load_part(self, module: nn.Module, original: str, ours: str) -> nn.Module:
        """Load a part of the adapter: its prefix in the original's adapter, and in ours."""
        module.load_state_dict(
            {
                adapter_name(original + name).removeprefix(ours): value
                for name, value in self.parameters().items()
            }
        )
        return module.eval()


def rows(parameters: dict[str, Tensor], name: str) -> int:
    return parameters[name].shape[0]


def dao_settings(parameters: dict[str, Tensor], groups: int, **values) -> DaoSettings:
    """Read the form of a DAO block off its parameters."""
    return DaoSettings(
        groups=groups,
        kernel=isqrt(rows(parameters, "dcn_v3.mask.bias") // groups),
        depthwise_kernel=parameters["dcn_v3.dw_conv.0.weight"].shape[-1],
        center_scale="dcn_v3.center_feature_scale_proj_bias" in parameters,
        **values,
    )


def adapter_settings(case: OpsCase) -> AdapterSettings:
    """Read the form of a side adapter off its parameters."""
    own = case.parameters()
    numbers = {
        part: sorted({int(name.split(".")[1]) for name in own if name.startswith(f"{part}.")})
        for part in ("encode_layers", "conv_clips", "dao_list")
    }
    side = isqrt(own["pos_embed"].shape[1])
    first = "dao_list.0."
    block = {name.removeprefix(first): v for name, v in own.items() if name.startswith(first)}
    width = own["pos_embed"].shape[2]
    return AdapterSettings(
        width=width,
        layers=len(numbers["encode_layers"]),
        heads=int(case["num_heads"]),
        mlp_ratio=rows(own, "encode_layers.0.ffn.layers.0.0.bias") / width,
        queries=own["query_embed"].shape[1],
        patch_px=int(case["patch_size"]),
        grid=(side, side),
        fusion_layers=tuple(numbers["conv_clips"]),
        dao=dao_settings(block, int(case["dao_groups"]), before_fusion=tuple(numbers["dao_list"])),
        decoder_width=rows(own, "mask_decoder.query_mlp.layers.0.bias"),
        decoder_layers=len([n for n in own if n.startswith("mask_decoder.query_mlp")]) // 2,
        supervised_layers=tuple(case["deep_supervision"].tolist()),
    )
