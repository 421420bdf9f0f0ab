// Sampling core of deformable convolution v3 (InternImage, arXiv 2211.05778) and its gradients: per
// output position and group, a weighted sum of samples around a regular grid of kernel points.
#pragma once

#include <ATen/ops/empty.h>

#include <array>
#include <tuple>

#include "sampled_map.h"

namespace eagleray {

// Where the taps of an output position are.
template <typename scalar_t>
struct DcnGrid {
  using Math = typename Taps<scalar_t>::Math;
  using Floats = typename Math::Floats;

  int height, width, out_height, out_width;
  int kernel_height, num_points;  // kernel height * width points, all of a column after another
  int groups, lanes_per_group;
  scalar_t start_x, start_y;    // of the first kernel point of the first output
  scalar_t stride_x, stride_y;  // from output to output
  scalar_t step_x, step_y;      // from kernel point to kernel point
  scalar_t offset_scale;
  const scalar_t* offsets;  // (N, Ho Wo, G, K, 2)
  const scalar_t* weights;  // (N, Ho Wo, G, K)

  struct Block {
    Floats x, y, weight;
  };

  // Row of an output position and a group in offsets and weights.
  EAGLERAY_HD int64_t row(int64_t image, int64_t query, int64_t lane) const {
    const int64_t group = lanes_per_group == 1 ? lane : lane / lanes_per_group;
    return (image * out_height * out_width + query) * groups + group;
  }

  // Finds `count` taps from `begin` on of one row.
  EAGLERAY_HD void locate(int64_t row, int64_t query, int begin, int count,
                          Taps<scalar_t>& taps) const {
    const int out_y = static_cast<int>(query) / out_width;
    const int out_x = static_cast<int>(query) - out_y * out_width;
    const scalar_t first_x = start_x + static_cast<scalar_t>(out_x) * stride_x;
    const scalar_t first_y = start_y + static_cast<scalar_t>(out_y) * stride_y;
    const scalar_t columns_per_point = scalar_t(1) / static_cast<scalar_t>(kernel_height);
    const scalar_t* offset = offsets + 2 * row * num_points;
    const scalar_t* weight = weights + row * num_points;
    taps.locate(count, height, width, [&](int first) {
      // Lanes behind the last tap repeat the first one.
      const auto at = [&](int lane) { return begin + (first + lane < count ? first + lane : 0); };
      const Floats point = Math::each([&](int lane) { return static_cast<scalar_t>(at(lane)); });
      // The half keeps the quotient away from integers, where rounding would matter.
      const Floats column =
          Math::to_floats(Math::truncate((point + scalar_t(0.5)) * columns_per_point));
      const Floats line = point - column * static_cast<scalar_t>(kernel_height);
      const Floats offset_x = Math::each([&](int lane) { return offset[2 * at(lane)]; });
      const Floats offset_y = Math::each([&](int lane) { return offset[2 * at(lane) + 1]; });
      return Block{first_x + column * step_x + offset_x * offset_scale,
                   first_y + line * step_y + offset_y * offset_scale,
                   Math::each([&](int lane) { return weight[at(lane)]; })};
    });
  }
};

template <typename value_t, typename scalar_t, int kChannels>
struct DcnV3 {
  DcnGrid<scalar_t> grid;
  MapStrides strides;
  const value_t* value;
  value_t* output;   // (N, Ho Wo, channels)
  int64_t channels;  // of all groups

  EAGLERAY_HD void operator()(int64_t image, int64_t query, int64_t lane) const {
    const int64_t row = grid.row(image, query, lane);
    const value_t* map = value + strides.first<kChannels>(image, lane, grid.lanes_per_group);
    auto sum = Row<scalar_t, kChannels>::zeros();
    Taps<scalar_t> taps;
    for (int begin = 0; begin < grid.num_points; begin += kTaps) {
      const int left = grid.num_points - begin, count = left < kTaps ? left : kTaps;
      grid.locate(row, query, begin, count, taps);
      add_samples(taps, map, strides.pixel, sum);
    }
    const int64_t out_row = image * grid.out_height * grid.out_width + query;
    sum.store(output + out_row * channels + lane * kChannels);
  }
};

template <typename value_t, typename scalar_t, int kChannels>
struct DcnV3Backward {
  DcnGrid<scalar_t> grid;
  MapStrides strides;  // of value and grad_value
  const value_t* grad;
  const value_t* value;
  scalar_t* grad_value;
  scalar_t* grad_offsets;
  scalar_t* grad_weights;
  int64_t channels;

  EAGLERAY_HD void operator()(int64_t image, int64_t query, int64_t lane) const {
    const int64_t row = grid.row(image, query, lane);
    const int64_t start = strides.first<kChannels>(image, lane, grid.lanes_per_group);
    const int64_t out_row = image * grid.out_height * grid.out_width + query;
    const auto on_output =
        Row<scalar_t, kChannels>::load(grad + out_row * channels + lane * kChannels);
    Taps<scalar_t> taps;
    for (int begin = 0; begin < grid.num_points; begin += kTaps) {
      const int left = grid.num_points - begin, count = left < kTaps ? left : kTaps;
      grid.locate(row, query, begin, count, taps);
      const auto on = add_sample_gradients(taps, count, on_output, value + start, strides.pixel,
                                           grad_value + start);
      for (int t = 0; t < count; ++t) {
        const int64_t at = row * grid.num_points + begin + t;
        const bool is_all = grid.lanes_per_group == 1;
        set_or_add_to(grad_weights + at, on.weight[t], is_all);
        set_or_add_to(grad_offsets + 2 * at, on.x[t] * grid.offset_scale, is_all);
        set_or_add_to(grad_offsets + 2 * at + 1, on.y[t] * grid.offset_scale, is_all);
      }
    }
  }
};

// Numbers of an operator's call, each (along y, along x).
struct DcnSettings {
  at::IntArrayRef kernel_size, stride, padding, dilation;
  int64_t groups;
  double offset_scale;
};

inline void check_dcn(const at::Tensor& value, const at::Tensor& offsets, const at::Tensor& weights,
                      const DcnSettings& settings) {
  TORCH_CHECK(settings.kernel_size.size() == 2 && settings.stride.size() == 2 &&
                  settings.padding.size() == 2 && settings.dilation.size() == 2,
              "dcn_v3: kernel_size, stride, padding and dilation are pairs");
  const int64_t points = settings.kernel_size[0] * settings.kernel_size[1] * settings.groups;
  TORCH_CHECK(settings.groups >= 1 && points >= 1 && value.dim() == 4 && offsets.dim() == 4 &&
                  weights.dim() == 4 && value.size(3) % settings.groups == 0,
              "dcn_v3: value (N, H, W, G D), offsets (N, Ho, Wo, G K 2), weights (N, Ho, Wo, G K)");
  TORCH_CHECK(offsets.size(0) == value.size(0) && weights.sizes().slice(0, 3) ==
                  offsets.sizes().slice(0, 3) && offsets.size(3) == 2 * points &&
                  weights.size(3) == points && weights.scalar_type() == offsets.scalar_type(),
              "dcn_v3: offsets and weights do not fit value or each other");
}

// `map` is (height, width); `offsets` and `weights` are contiguous.
template <typename scalar_t>
DcnGrid<scalar_t> dcn_grid(at::IntArrayRef map, int lanes_per_group, const at::Tensor& offsets,
                           const at::Tensor& weights, const DcnSettings& settings) {
  std::array<scalar_t, 2> start, step;
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t center = settings.dilation[axis] * (settings.kernel_size[axis] - 1) / 2;
    start[axis] = static_cast<scalar_t>(center - settings.padding[axis] -
                                        center * settings.offset_scale);
    step[axis] = static_cast<scalar_t>(settings.dilation[axis] * settings.offset_scale);
  }
  return {.height = static_cast<int>(map[0]),
          .width = static_cast<int>(map[1]),
          .out_height = static_cast<int>(offsets.size(1)),
          .out_width = static_cast<int>(offsets.size(2)),
          .kernel_height = static_cast<int>(settings.kernel_size[0]),
          .num_points = static_cast<int>(settings.kernel_size[0] * settings.kernel_size[1]),
          .groups = static_cast<int>(settings.groups),
          .lanes_per_group = lanes_per_group,
          .start_x = start[1],
          .start_y = start[0],
          .stride_x = static_cast<scalar_t>(settings.stride[1]),
          .stride_y = static_cast<scalar_t>(settings.stride[0]),
          .step_x = step[1],
          .step_y = step[0],
          .offset_scale = static_cast<scalar_t>(settings.offset_scale),
          .offsets = offsets.const_data_ptr<scalar_t>(),
          .weights = weights.const_data_ptr<scalar_t>()};
}

// (N, H W, G, D), in the type and the layout that the kernels read.
inline SampledMap dcn_map(const at::Tensor& value, const at::Tensor& offsets,
                          const DcnSettings& settings) {
  const int64_t points = settings.kernel_size[0] * settings.kernel_size[1];
  return sampled_map(value.reshape({value.size(0), value.size(1) * value.size(2), settings.groups,
                                    value.size(3) / settings.groups}),
                     offsets.scalar_type(), offsets.size(1) * offsets.size(2) * points);
}

template <class Launch>
at::Tensor dcn_v3(const at::Tensor& value_in, const at::Tensor& offsets_in,
                  const at::Tensor& weights_in, at::IntArrayRef kernel_size, at::IntArrayRef stride,
                  at::IntArrayRef padding, at::IntArrayRef dilation, int64_t groups,
                  double offset_scale) {
  const DcnSettings settings{kernel_size, stride, padding, dilation, groups, offset_scale};
  check_dcn(value_in, offsets_in, weights_in, settings);
  const Launch launch(value_in);
  const at::Tensor offsets = offsets_in.contiguous(), weights = weights_in.contiguous();
  const SampledMap value = dcn_map(value_in, offsets, settings);
  const int64_t queries = offsets.size(1) * offsets.size(2), channels = value_in.size(3);
  at::Tensor output = at::empty({value_in.size(0), offsets.size(1), offsets.size(2), channels},
                                value.tensor.options());
  with_map_types(value.tensor, offsets, [&](auto map_type, auto type) {
    using value_t = typename decltype(map_type)::type;
    using scalar_t = typename decltype(type)::type;
    with_channels<scalar_t>(channels / groups, [&](auto lane_channels) {
      constexpr int kChannels = decltype(lane_channels)::value;
      const int lanes = channels / groups / kChannels;
      launch.for_each_cell(value_in.size(0), groups, queries, lanes, weights.size(3) / groups * 10,
                           DcnV3<value_t, scalar_t, kChannels>{
                               dcn_grid<scalar_t>(value_in.sizes().slice(1, 2), lanes, offsets,
                                                  weights, settings),
                               value.strides, value.tensor.const_data_ptr<value_t>(),
                               output.data_ptr<value_t>(), channels});
    });
  });
  return output.to(value_in.scalar_type());
}

template <class Launch>
std::tuple<at::Tensor, at::Tensor, at::Tensor> dcn_v3_backward(
    const at::Tensor& grad_in, const at::Tensor& value_in, const at::Tensor& offsets_in,
    const at::Tensor& weights_in, at::IntArrayRef kernel_size, at::IntArrayRef stride,
    at::IntArrayRef padding, at::IntArrayRef dilation, int64_t groups, double offset_scale) {
  const DcnSettings settings{kernel_size, stride, padding, dilation, groups, offset_scale};
  check_dcn(value_in, offsets_in, weights_in, settings);
  TORCH_CHECK(grad_in.dim() == 4 && grad_in.size(3) == value_in.size(3) &&
                  grad_in.sizes().slice(0, 3) == offsets_in.sizes().slice(0, 3) &&
                  grad_in.scalar_type() == value_in.scalar_type(),
              "dcn_v3_backward: grad must have the shape (N, Ho, Wo, G D) and the type of value");
  const Launch launch(value_in);
  const at::Tensor offsets = offsets_in.contiguous(), weights = weights_in.contiguous();
  const SampledMap value = dcn_map(value_in, offsets, settings);
  const at::Tensor grad = grad_in.contiguous().to(value.tensor.scalar_type());
  const int64_t queries = offsets.size(1) * offsets.size(2), channels = value_in.size(3);
  const at::Tensor grad_value = zeros_like_map(value.tensor, offsets.scalar_type());
  const at::Tensor grad_offsets = at::empty(offsets.sizes(), offsets.options());
  const at::Tensor grad_weights = at::empty(weights.sizes(), weights.options());
  with_map_types(value.tensor, offsets, [&](auto map_type, auto type) {
    using value_t = typename decltype(map_type)::type;
    using scalar_t = typename decltype(type)::type;
    with_channels<scalar_t>(channels / groups, [&](auto lane_channels) {
      constexpr int kChannels = decltype(lane_channels)::value;
      const int lanes = channels / groups / kChannels;
      if (lanes > 1) grad_offsets.zero_(), grad_weights.zero_();
      launch.for_each_owned_cell(
          value_in.size(0), groups, queries, lanes,
          DcnV3Backward<value_t, scalar_t, kChannels>{
              dcn_grid<scalar_t>(value_in.sizes().slice(1, 2), lanes, offsets, weights, settings),
              value.strides, grad.const_data_ptr<value_t>(),
              value.tensor.const_data_ptr<value_t>(), grad_value.data_ptr<scalar_t>(),
              grad_offsets.data_ptr<scalar_t>(), grad_weights.data_ptr<scalar_t>(), channels});
    });
  });
  return {grad_value.reshape(value_in.sizes()).to(value_in.scalar_type()), grad_offsets,
          grad_weights};
}

}  // namespace eagleray
