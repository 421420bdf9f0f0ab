"""The whole network: camera images to an occupancy that can be asked in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eagleray.task import InputError
from eagleray_pop3d.model.aggregator import Aggregator, Planes
from eagleray_pop3d.model.backbone import ImageBackbone, ImagePyramid
from eagleray_pop3d.model.config import NetworkSettings
from eagleray_pop3d.model.encoder import TpvHead

IMAGE_MEAN_RGB = (123.675, 116.28, 103.53)
"""Subtracted from pixel values 0..255, which are not divided (released configuration)."""
_NUM_LEVELS = 4


@dataclass(frozen=True)
class Answers:
    """What the network says.

    Attributes:
        voxel_logits: ``(B, 2, W, H, Z)`` free and occupied.
        voxel_features: ``(B, D, W, H, Z)`` where asked for.
        point_logits: Per sample ``(n_b, 2)``, where points were given.
        point_features: Per sample ``(m_b, D)``, where feature points were given.
    """

    voxel_logits: Tensor
    voxel_features: Tensor | None = None
    point_logits: list[Tensor] | None = None
    point_features: list[Tensor] | None = None


class Pop3dNetwork(nn.Module):
    """Image backbone, pyramid, tri-perspective view encoder and the two heads."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        self.img_backbone = ImageBackbone(settings.backbone)
        channels = settings.encoder.channels
        self.img_neck = ImagePyramid(self.img_backbone.out_channels, channels)
        self.tpv_head = TpvHead(settings.encoder, settings.grid, _NUM_LEVELS)
        self.tpv_aggregator = Aggregator(channels, settings.grid, settings.heads)

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Return the parts that activation checkpointing runs again in the backward pass."""
        backbone, aggregator = self.img_backbone, self.tpv_aggregator
        stages = (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4)
        blocks = [block for stage in stages for block in stage]
        return [
            *blocks,
            *self.tpv_head.encoder.layers,
            aggregator.decoder,
            aggregator.decoder_ft,
        ]

    def encode(self, images: Tensor, lidar2img: Tensor) -> Planes:
        """Fill the three planes from images.

        Args:
            images: ``(B, N, 3, H, W)``, BGR minus the mean, sides multiples of 32.
            lidar2img: ``(B, N, 4, 4)``, lidar metres to pixels of the padded images times depth.

        Raises:
            InputError: The number of cameras is not the one that the network was built for.
        """
        batch, cameras = images.shape[:2]
        wanted = self.settings.encoder.num_cameras
        if cameras != wanted:
            raise InputError(
                f"a key frame of {cameras} cameras was given to a network of {wanted}; every "
                "camera slot has an embedding of its own: use a checkpoint that was trained on "
                "this rig, or set settings.network.encoder.num_cameras and train"
            )
        levels = self.img_neck(self.img_backbone(images.flatten(0, 1)))
        maps = [x.unflatten(0, (batch, cameras)) for x in levels]
        size = (images.shape[3], images.shape[4])
        return self.tpv_aggregator.planes(self.tpv_head(maps, lidar2img, size))

    def forward(
        self,
        images: Tensor,
        lidar2img: Tensor,
        points: Sequence[Tensor] | None = None,
        feature_points: Sequence[Tensor] | None = None,
        *,
        with_voxel_features: bool = False,
    ) -> Answers:
        """Answer for every voxel, and for points.

        Args:
            images: ``(B, N, 3, H, W)``, BGR minus the mean, sides multiples of 32.
            lidar2img: ``(B, N, 4, 4)``.
            points: Per sample ``(n_b, 3)`` (x, y, z) in cells, to ask for occupancy.
            feature_points: Per sample ``(m_b, 3)``, to ask for language features.
            with_voxel_features: Decode language features of all voxels too.
        """
        planes = self.encode(images, lidar2img)
        aggregator = self.tpv_aggregator
        voxels = aggregator.voxels(planes)
        channels_first = (0, 4, 1, 2, 3)
        return Answers(
            aggregator.occupancy(voxels).permute(channels_first),
            aggregator.language(voxels).permute(channels_first) if with_voxel_features else None,
            None if points is None else self._per_sample(planes, points, aggregator.occupancy),
            None
            if feature_points is None
            else self._per_sample(planes, feature_points, aggregator.language),
        )

    def _per_sample(
        self, planes: Planes, places: Sequence[Tensor], head: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        # Samples have different numbers of points: sampled one by one, and decoded at once.
        sampled = [
            self.tpv_aggregator.points(
                Planes(planes.hw[b, None], planes.zh[b, None], planes.wz[b, None]), xyz[None]
            )[0]
            for b, xyz in enumerate(places)
        ]
        decoded = head(torch.cat(sampled))
        return list(torch.split(decoded, [len(x) for x in sampled]))


def normalize_images(images_rgb: Tensor, sizes_hw: Tensor, kept: Tensor | None = None) -> Tensor:
    """Make network input of photographs, on their device.

    Args:
        images_rgb: ``(B, N, H, W, 3)`` values 0..255, filled to equal sizes.
        sizes_hw: ``(B, N, 2)`` sizes of the photographs in them.
        kept: ``(B, H, W)`` bool, which pixels a GridMask leaves; None for all.

    Returns:
        ``(B, N, 3, H, W)`` float32 BGR minus the mean; zero, the mean color, where a photograph
        ends or is masked.
    """
    height, width = images_rgb.shape[2:4]
    device = images_rgb.device
    rows = torch.arange(height, device=device) < sizes_hw[..., :1]
    columns = torch.arange(width, device=device) < sizes_hw[..., 1:]
    inside = rows[..., :, None] & columns[..., None, :]
    if kept is not None:
        inside = inside & kept[:, None]
    mean = torch.tensor(IMAGE_MEAN_RGB, device=device)
    images = (images_rgb.float() - mean) * inside[..., None]
    return images.flip(-1).permute(0, 1, 4, 2, 3).contiguous()
