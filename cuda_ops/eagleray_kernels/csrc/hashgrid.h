// Multiresolution hash encoding (Instant-NGP, arXiv 2201.05989, section 3) with linear interpolation,
// and its gradients. Level l scales a position u in [0, 1]^3 to q = scale_l u + 0.5; the eight grid
// corners around q are looked up in the level's table, densely where the grid fits, else hashed.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "portable.h"

namespace eagleray {

// Primes of the spatial hash (arXiv 2201.05989, equation 4); the first one is 1.
constexpr uint32_t kHashPrimeY = 2654435761u;
constexpr uint32_t kHashPrimeZ = 805459861u;

// Where a position falls on one level: corner rows of the table along each axis, and the part of the
// way to the upper corner.
template <typename scalar_t>
struct GridPoint {
  uint32_t part[3][2];
  scalar_t upper[3];  // weight of the upper corner
  uint32_t entries;
  uint32_t mask;  // entries - 1 where entries is a power of two, else 0
  bool hashed;

  EAGLERAY_HD uint32_t row(int corner) const {
    const uint32_t x = part[0][corner & 1], y = part[1][(corner >> 1) & 1], z = part[2][corner >> 2];
    const uint32_t index = hashed ? x ^ y ^ z : x + y + z;
    if (mask != 0) return index & mask;
    return index < entries ? index : index % entries;
  }

  EAGLERAY_HD scalar_t axis_weight(int corner, int axis) const {
    return (corner >> axis) & 1 ? upper[axis] : 1 - upper[axis];
  }

  EAGLERAY_HD scalar_t weight(int corner) const {
    return axis_weight(corner, 0) * axis_weight(corner, 1) * axis_weight(corner, 2);
  }
};

template <typename scalar_t>
struct HashGridLevels {
  const int64_t* offsets;      // (L + 1,) first table row per level
  const int32_t* resolutions;  // (L,)
  const float* scales;         // (L,)
  int64_t num_levels;
  const scalar_t* positions;  // (N, 3)

  EAGLERAY_HD GridPoint<scalar_t> locate(int64_t level, int64_t point) const {
    GridPoint<scalar_t> g;
    g.entries = static_cast<uint32_t>(offsets[level + 1] - offsets[level]);
    g.mask = (g.entries & (g.entries - 1)) == 0 ? g.entries - 1 : 0;
    const uint64_t resolution = static_cast<uint64_t>(resolutions[level]);
    g.hashed = resolution * resolution * resolution > g.entries;
    const uint32_t side = static_cast<uint32_t>(resolution);
    const uint32_t stride_y = g.hashed ? kHashPrimeY : side;
    const uint32_t stride_z = g.hashed ? kHashPrimeZ : side * side;
    const scalar_t scale = scales[level];
    for (int axis = 0; axis < 3; ++axis) {
      const scalar_t q = scale * positions[3 * point + axis] + static_cast<scalar_t>(0.5);
      int64_t below = static_cast<int64_t>(q);
      below -= q < static_cast<scalar_t>(below);
      g.upper[axis] = q - static_cast<scalar_t>(below);
      const uint32_t stride = axis == 0 ? 1u : (axis == 1 ? stride_y : stride_z);
      g.part[axis][0] = static_cast<uint32_t>(below) * stride;
      g.part[axis][1] = g.part[axis][0] + stride;
    }
    return g;
  }
};

template <typename scalar_t, int kFeatures>
struct HashGridEncode {
  HashGridLevels<scalar_t> levels;
  const scalar_t* table;  // (entries of all levels, F)
  scalar_t* encoded;      // (N, L F)

  EAGLERAY_HD void operator()(int64_t level, int64_t point) const {
    const GridPoint<scalar_t> g = levels.locate(level, point);
    const scalar_t* level_table = table + levels.offsets[level] * kFeatures;
    scalar_t sum[kFeatures] = {};
    EAGLERAY_UNROLL
    for (int corner = 0; corner < 8; ++corner) {
      const scalar_t weight = g.weight(corner);
      const scalar_t* entry = level_table + static_cast<int64_t>(g.row(corner)) * kFeatures;
      for (int f = 0; f < kFeatures; ++f) sum[f] += weight * entry[f];
    }
    scalar_t* out = encoded + (point * levels.num_levels + level) * kFeatures;
    for (int f = 0; f < kFeatures; ++f) out[f] = sum[f];
  }
};

template <typename scalar_t, int kFeatures>
struct HashGridTableGradient {
  HashGridLevels<scalar_t> levels;
  const scalar_t* grad_encoded;
  scalar_t* grad_table;

  EAGLERAY_HD void operator()(int64_t level, int64_t point) const {
    const scalar_t* grad = grad_encoded + (point * levels.num_levels + level) * kFeatures;
    bool any = false;
    for (int f = 0; f < kFeatures; ++f) any = any || grad[f] != 0;
    if (!any) return;
    const GridPoint<scalar_t> g = levels.locate(level, point);
    scalar_t* level_table = grad_table + levels.offsets[level] * kFeatures;
    EAGLERAY_UNROLL
    for (int corner = 0; corner < 8; ++corner) {
      const scalar_t weight = g.weight(corner);
      scalar_t* entry = level_table + static_cast<int64_t>(g.row(corner)) * kFeatures;
      for (int f = 0; f < kFeatures; ++f) add_to(entry + f, weight * grad[f]);
    }
  }
};

// Gradient with respect to the position, all levels of one point.
template <typename scalar_t, int kFeatures>
struct HashGridPositionGradient {
  HashGridLevels<scalar_t> levels;
  const scalar_t* table;
  const scalar_t* grad_encoded;
  scalar_t* grad_positions;

  EAGLERAY_HD void operator()(int64_t point) const {
    scalar_t sum[3] = {};
    for (int64_t level = 0; level < levels.num_levels; ++level) {
      const GridPoint<scalar_t> g = levels.locate(level, point);
      const scalar_t* grad = grad_encoded + (point * levels.num_levels + level) * kFeatures;
      const scalar_t* level_table = table + levels.offsets[level] * kFeatures;
      for (int corner = 0; corner < 8; ++corner) {
        const scalar_t* entry = level_table + static_cast<int64_t>(g.row(corner)) * kFeatures;
        scalar_t along = 0;
        for (int f = 0; f < kFeatures; ++f) along += entry[f] * grad[f];
        for (int axis = 0; axis < 3; ++axis) {
          const scalar_t others =
              g.axis_weight(corner, (axis + 1) % 3) * g.axis_weight(corner, (axis + 2) % 3);
          const scalar_t sign = (corner >> axis) & 1 ? 1 : -1;
          sum[axis] += sign * others * along * static_cast<scalar_t>(levels.scales[level]);
        }
      }
    }
    for (int axis = 0; axis < 3; ++axis) grad_positions[3 * point + axis] = sum[axis];
  }
};

// Calls body(std::integral_constant<int, F>) for the number of features per level F.
template <class Body>
void with_features(int64_t features, const Body& body) {
  switch (features) {
    case 1: return body(std::integral_constant<int, 1>{});
    case 2: return body(std::integral_constant<int, 2>{});
    case 4: return body(std::integral_constant<int, 4>{});
    case 8: return body(std::integral_constant<int, 8>{});
    default: TORCH_CHECK(false, "hash grid: features per level must be 1, 2, 4 or 8, not ", features);
  }
}

inline void check_hash_grid(const at::Tensor& positions, int64_t features,
                            const at::Tensor& offsets, const at::Tensor& resolutions,
                            const at::Tensor& scales) {
  TORCH_CHECK(positions.dim() == 2 && positions.size(1) == 3, "positions must have shape (N, 3)");
  TORCH_CHECK(offsets.size(0) == scales.size(0) + 1 && resolutions.size(0) == scales.size(0),
              "hash grid: offsets (L + 1,), resolutions (L,) and scales (L,) are needed");
  TORCH_CHECK(offsets.is_contiguous() && resolutions.is_contiguous() && scales.is_contiguous(),
              "hash grid: the level tables must be contiguous");
  TORCH_CHECK(features >= 1, "hash grid: at least one feature per level");
}

template <typename scalar_t>
HashGridLevels<scalar_t> read_levels(const at::Tensor& positions, const at::Tensor& offsets,
                                     const at::Tensor& resolutions, const at::Tensor& scales) {
  return {offsets.const_data_ptr<int64_t>(), resolutions.const_data_ptr<int32_t>(),
          scales.const_data_ptr<float>(), scales.size(0), positions.const_data_ptr<scalar_t>()};
}

template <class Launch, typename scalar_t>
at::Tensor hash_grid_encode(const at::Tensor& positions_in, const at::Tensor& table_in,
                            const at::Tensor& offsets, const at::Tensor& resolutions,
                            const at::Tensor& scales) {
  check_hash_grid(positions_in, table_in.size(1), offsets, resolutions, scales);
  const Launch launch(positions_in);
  const at::Tensor positions = positions_in.contiguous(), table = table_in.contiguous();
  const int64_t num_points = positions.size(0), num_levels = scales.size(0);
  at::Tensor encoded = at::empty({num_points, num_levels * table.size(1)}, positions.options());
  with_features(table.size(1), [&](auto features) {
    launch.for_each_pair(num_levels, num_points,
                         HashGridEncode<scalar_t, decltype(features)::value>{
                             read_levels<scalar_t>(positions, offsets, resolutions, scales),
                             table.const_data_ptr<scalar_t>(), encoded.data_ptr<scalar_t>()});
  });
  return encoded;
}

template <class Launch, typename scalar_t>
at::Tensor hash_grid_table_gradient(const at::Tensor& grad_in, const at::Tensor& positions_in,
                                    const at::Tensor& offsets, const at::Tensor& resolutions,
                                    const at::Tensor& scales, int64_t num_entries,
                                    int64_t num_features) {
  check_hash_grid(positions_in, num_features, offsets, resolutions, scales);
  const Launch launch(positions_in);
  const at::Tensor positions = positions_in.contiguous(), grad = grad_in.contiguous();
  const int64_t num_points = positions.size(0), num_levels = scales.size(0);
  at::Tensor grad_table = at::zeros({num_entries, num_features}, positions.options());
  with_features(num_features, [&](auto features) {
    launch.for_each_owned_row(num_levels, num_points,
                              HashGridTableGradient<scalar_t, decltype(features)::value>{
                                  read_levels<scalar_t>(positions, offsets, resolutions, scales),
                                  grad.const_data_ptr<scalar_t>(), grad_table.data_ptr<scalar_t>()});
  });
  return grad_table;
}

template <class Launch, typename scalar_t>
at::Tensor hash_grid_position_gradient(const at::Tensor& grad_in, const at::Tensor& positions_in,
                                       const at::Tensor& table_in, const at::Tensor& offsets,
                                       const at::Tensor& resolutions, const at::Tensor& scales) {
  check_hash_grid(positions_in, table_in.size(1), offsets, resolutions, scales);
  const Launch launch(positions_in);
  const at::Tensor positions = positions_in.contiguous(), grad = grad_in.contiguous();
  const at::Tensor table = table_in.contiguous();
  at::Tensor grad_positions = at::empty({positions.size(0), 3}, positions.options());
  with_features(table.size(1), [&](auto features) {
    launch.for_each(positions.size(0), 100 * scales.size(0),
                    HashGridPositionGradient<scalar_t, decltype(features)::value>{
                        read_levels<scalar_t>(positions, offsets, resolutions, scales),
                        table.const_data_ptr<scalar_t>(), grad.const_data_ptr<scalar_t>(),
                        grad_positions.data_ptr<scalar_t>()});
  });
  return grad_positions;
}

}  // namespace eagleray
