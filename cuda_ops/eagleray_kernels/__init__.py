"""Operators of radiance fields and of learned sampling, compiled for CPU and CUDA.

Each has a twin in plain PyTorch, which runs where nothing can be compiled. Compiled at the
first use or ahead of time (`eagleray_kernels.build`).
"""

from eagleray_kernels.build import DeviceStatus, KernelStatus, build_library, kernel_status
from eagleray_kernels.composite import (
    TRAINING_THRESHOLD,
    Composite,
    composite_live_rays_,
    composite_training_rays,
)
from eagleray_kernels.dcnv3 import dcn_v3
from eagleray_kernels.deformable_attention import deformable_attention
from eagleray_kernels.dispatch import implementation, uses_compiled
from eagleray_kernels.distortion import distortion_loss
from eagleray_kernels.errors import KernelBuildError, KernelFallbackWarning, KernelInputError
from eagleray_kernels.hashgrid import HashGridLayout, HashGridLevels, hash_grid_encode
from eagleray_kernels.march import (
    LiveSamples,
    MarchSettings,
    TrainingSamples,
    march_live_rays_,
    march_training_rays,
    points_on_rays,
)
from eagleray_kernels.morton import decode_morton, encode_morton
from eagleray_kernels.packbits import pack_bits
from eagleray_kernels.product_codes import pq_decode, pq_scores
from eagleray_kernels.ray_box import RayHits, intersect_boxes, intersect_spheres
from eagleray_kernels.spherical_harmonics import spherical_harmonics

__all__ = [
    "TRAINING_THRESHOLD",
    "Composite",
    "DeviceStatus",
    "HashGridLayout",
    "HashGridLevels",
    "KernelBuildError",
    "KernelFallbackWarning",
    "KernelInputError",
    "KernelStatus",
    "LiveSamples",
    "MarchSettings",
    "RayHits",
    "TrainingSamples",
    "build_library",
    "composite_live_rays_",
    "composite_training_rays",
    "dcn_v3",
    "decode_morton",
    "deformable_attention",
    "distortion_loss",
    "encode_morton",
    "hash_grid_encode",
    "implementation",
    "intersect_boxes",
    "intersect_spheres",
    "kernel_status",
    "march_live_rays_",
    "march_training_rays",
    "pack_bits",
    "points_on_rays",
    "pq_decode",
    "pq_scores",
    "spherical_harmonics",
    "uses_compiled",
]
