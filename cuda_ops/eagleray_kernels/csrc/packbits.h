// Packs "value above threshold" into bits, eight values to a byte, lowest bit first.
#pragma once

#include <ATen/ops/empty.h>

#include "portable.h"

namespace eagleray {

template <typename scalar_t>
struct PackBits {
  const scalar_t* values;
  scalar_t threshold;
  uint8_t* bytes;

  EAGLERAY_HD void operator()(int64_t byte) const {
    uint32_t packed = 0;
    for (int bit = 0; bit < 8; ++bit) {
      packed |= static_cast<uint32_t>(values[8 * byte + bit] > threshold) << bit;
    }
    bytes[byte] = static_cast<uint8_t>(packed);
  }
};

template <class Launch>
at::Tensor pack_bits(const at::Tensor& values_in, double threshold) {
  TORCH_CHECK(values_in.dim() == 1 && values_in.size(0) % 8 == 0,
              "values must be flat and a multiple of 8 long");
  const Launch launch(values_in);
  const at::Tensor values = values_in.contiguous();
  at::Tensor bytes = at::empty({values.size(0) / 8}, values.options().dtype(at::kByte));
  launch.for_each(bytes.size(0), 8,
                  PackBits<float>{values.const_data_ptr<float>(), static_cast<float>(threshold),
                                  bytes.data_ptr<uint8_t>()});
  return bytes;
}

}  // namespace eagleray
