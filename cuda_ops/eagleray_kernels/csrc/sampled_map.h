// What the operators that sample maps share outside of their arithmetic: the choice of an instance
// by the types of map and positions, and by the channels that one call handles.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/zero.h>

#include <type_traits>

#include "bilinear.h"

namespace eagleray {

template <typename T>
struct Type {
  using type = T;
};

#ifdef __CUDACC__
constexpr bool kReadsHalf = true;
#else
// Widening a whole tensor at once is faster than doing it row by row without the instructions.
constexpr bool kReadsHalf = false;
#endif

// Elements from one image, group of channels and pixel of a map to the next.
struct MapStrides {
  int64_t image, group, pixel;

  // First element of some channels of an image; `lane` counts them through all groups.
  template <int kChannels>
  EAGLERAY_HD int64_t first(int64_t image_index, int64_t lane, int lanes_per_group) const {
    const int64_t group_index = lanes_per_group == 1 ? lane : lane / lanes_per_group;
    return image_index * image + group_index * group +
           (lane - group_index * lanes_per_group) * kChannels;
  }
};

// A map (N, pixels, groups, channels) as the kernels of this device read it.
struct SampledMap {
  at::Tensor tensor;
  MapStrides strides;
};

// On a CPU, which takes group after group, the pixels of a group lie side by side: else every group
// would use a few sets of the caches, rows being powers of two apart. A map of which little is read
// stays as it is. CUDA reads all groups of a pixel at once.
inline SampledMap sampled_map(at::Tensor map, at::ScalarType type, int64_t taps_per_group) {
#ifndef __CUDACC__
  map = map.to(type);
  if (2 * taps_per_group >= map.size(1)) {
    map = map.transpose(1, 2).contiguous().transpose(1, 2);
    return {map, {map.stride(0), map.stride(2), map.stride(1)}};
  }
#endif
  map = map.contiguous();
  return {map, {map.stride(0), map.stride(2), map.stride(1)}};
}

// Zeros of a map's shape and strides.
inline at::Tensor zeros_like_map(const at::Tensor& map, at::ScalarType type) {
  return at::empty_strided(map.sizes(), map.strides(), map.options().dtype(type)).zero_();
}

// Calls body(Type<value_t>, Type<scalar_t>) for the types of a sampled map and of the positions.
template <class Body>
void with_map_types(const at::Tensor& map, const at::Tensor& positions, const Body& body) {
  const auto map_type = map.scalar_type(), type = positions.scalar_type();
  if (map_type == at::kDouble && type == at::kDouble) {
    return body(Type<double>{}, Type<double>{});
  }
  if (type == at::kFloat && map_type == at::kFloat) return body(Type<float>{}, Type<float>{});
  if constexpr (kReadsHalf) {
    if (type == at::kFloat && map_type == at::kHalf) return body(Type<at::Half>{}, Type<float>{});
    if (type == at::kFloat && map_type == at::kBFloat16) {
      return body(Type<at::BFloat16>{}, Type<float>{});
    }
  }
  TORCH_CHECK(false, "positions must be float32, or float64 for such a map; found ", type, " for ",
              map_type);
}

template <int kChannels, class Body>
bool channels_fit(int64_t channels, const Body& body) {
  if (channels % kChannels != 0) return false;
  body(std::integral_constant<int, kChannels>{});
  return true;
}

// Calls body(std::integral_constant<int, n>) for the most channels n that divide a group's and that
// there is an instance for; a group of more is done in several lanes. On CUDA, where threads are the
// lanes, few are enough; double precision is for checking gradients.
template <typename scalar_t, class Body>
void with_channels(int64_t channels, const Body& body) {
  bool found = false;
  if constexpr (std::is_same_v<scalar_t, float>) {
#ifndef __CUDACC__
    found = channels_fit<32>(channels, body) || channels_fit<20>(channels, body) ||
            channels_fit<16>(channels, body) || channels_fit<8>(channels, body);
#endif
    found = found || channels_fit<4>(channels, body);
  }
  found = found || channels_fit<1>(channels, body);
  TORCH_CHECK(found, "a map without channels");
}

}  // namespace eagleray
