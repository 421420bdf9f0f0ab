// Morton (z-order) codes of 3-D cells, 10 bits per axis: bit i of x, y, z becomes bit 3i, 3i+1,
// 3i+2 of the code.
#pragma once

#include <ATen/ops/empty.h>

#include <tuple>

#include "portable.h"

namespace eagleray {

EAGLERAY_HD uint32_t spread_bits(uint32_t v) {
  v = (v * 0x00010001u) & 0xFF0000FFu;
  v = (v * 0x00000101u) & 0x0F00F00Fu;
  v = (v * 0x00000011u) & 0xC30C30C3u;
  v = (v * 0x00000005u) & 0x49249249u;
  return v;
}

EAGLERAY_HD uint32_t gather_bits(uint32_t v) {
  v = v & 0x49249249u;
  v = (v | (v >> 2)) & 0xC30C30C3u;
  v = (v | (v >> 4)) & 0x0F00F00Fu;
  v = (v | (v >> 8)) & 0xFF0000FFu;
  v = (v | (v >> 16)) & 0x0000FFFFu;
  return v;
}

EAGLERAY_HD uint32_t morton_code(uint32_t x, uint32_t y, uint32_t z) {
  return spread_bits(x) | (spread_bits(y) << 1) | (spread_bits(z) << 2);
}

struct EncodeMorton {
  const int32_t* coords;
  int32_t* codes;

  EAGLERAY_HD void operator()(int64_t i) const {
    const int32_t* c = coords + 3 * i;
    codes[i] = static_cast<int32_t>(morton_code(c[0], c[1], c[2]));
  }
};

struct DecodeMorton {
  const int32_t* codes;
  int32_t* coords;

  EAGLERAY_HD void operator()(int64_t i) const {
    const uint32_t code = static_cast<uint32_t>(codes[i]);
    for (int axis = 0; axis < 3; ++axis) {
      coords[3 * i + axis] = static_cast<int32_t>(gather_bits(code >> axis));
    }
  }
};

template <class Launch>
at::Tensor encode_morton(const at::Tensor& coords_in) {
  TORCH_CHECK(coords_in.dim() == 2 && coords_in.size(1) == 3, "coords must have shape (N, 3)");
  const Launch launch(coords_in);
  const at::Tensor coords = coords_in.contiguous();
  at::Tensor codes = at::empty({coords.size(0)}, coords.options());
  launch.for_each(coords.size(0), 3,
                  EncodeMorton{coords.const_data_ptr<int32_t>(), codes.data_ptr<int32_t>()});
  return codes;
}

template <class Launch>
at::Tensor decode_morton(const at::Tensor& codes_in) {
  TORCH_CHECK(codes_in.dim() == 1, "codes must have shape (N,)");
  const Launch launch(codes_in);
  const at::Tensor codes = codes_in.contiguous();
  at::Tensor coords = at::empty({codes.size(0), 3}, codes.options());
  launch.for_each(codes.size(0), 3,
                  DecodeMorton{codes.const_data_ptr<int32_t>(), coords.data_ptr<int32_t>()});
  return coords;
}

}  // namespace eagleray
