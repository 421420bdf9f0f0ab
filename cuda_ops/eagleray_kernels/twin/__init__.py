"""Every operator once more in plain PyTorch: the oracle of the compiled one, and its stand-in.

The functions have the operators' signatures (`eagleray_kernels.dispatch`) and no checks: call the
public functions of `eagleray_kernels` instead. Gradients are those of autograd through them.
"""

from eagleray_kernels.twin.composite import composite_test, composite_train
from eagleray_kernels.twin.dcnv3 import dcn_v3
from eagleray_kernels.twin.deformable_attention import deformable_attention
from eagleray_kernels.twin.distortion import distortion
from eagleray_kernels.twin.hashgrid import hash_grid_encode
from eagleray_kernels.twin.march import march_test, march_train
from eagleray_kernels.twin.morton import decode_morton, encode_morton
from eagleray_kernels.twin.packbits import pack_bits
from eagleray_kernels.twin.product_codes import pq_decode, pq_decode_into, pq_scores
from eagleray_kernels.twin.ray_box import intersect_boxes, intersect_spheres
from eagleray_kernels.twin.spherical_harmonics import spherical_harmonics

__all__ = [
    "composite_test",
    "composite_train",
    "dcn_v3",
    "decode_morton",
    "deformable_attention",
    "distortion",
    "encode_morton",
    "hash_grid_encode",
    "intersect_boxes",
    "intersect_spheres",
    "march_test",
    "march_train",
    "pack_bits",
    "pq_decode",
    "pq_decode_into",
    "pq_scores",
    "spherical_harmonics",
]
