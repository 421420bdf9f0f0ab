// Multi-scale deformable attention (arXiv 2010.04159, equation 3) and its gradients: per query and
// head, a weighted sum of samples of maps of several sizes.
#pragma once

#include <ATen/ops/empty.h>

#include <tuple>

#include "sampled_map.h"

namespace eagleray {

constexpr int kMaxLevels = 16;

// Sizes of the maps, by value, since a CUDA device cannot read the caller's lists.
struct MapLevels {
  int count;
  int heights[kMaxLevels], widths[kMaxLevels];

  EAGLERAY_HD int64_t pixels(int level) const {
    return static_cast<int64_t>(heights[level]) * widths[level];
  }
};

template <typename scalar_t>
struct AttentionPlaces {
  using Math = typename Taps<scalar_t>::Math;
  using Floats = typename Math::Floats;

  MapLevels levels;
  int64_t queries, heads;
  int points, lanes_per_head;
  const scalar_t* locations;  // (B, Q, M, L, P, 2), 0 to 1 from edge to edge
  const scalar_t* weights;    // (B, Q, M, L, P)

  struct Block {
    Floats x, y, weight;
  };

  // First place of a query and a head.
  EAGLERAY_HD int64_t place(int64_t image, int64_t query, int64_t lane) const {
    const int64_t head = lanes_per_head == 1 ? lane : lane / lanes_per_head;
    return ((image * queries + query) * heads + head) * levels.count * points;
  }

  // Finds `count` taps from a place on, all of one level.
  EAGLERAY_HD void locate(int level, int64_t place, int count, Taps<scalar_t>& taps) const {
    const scalar_t width = static_cast<scalar_t>(levels.widths[level]);
    const scalar_t height = static_cast<scalar_t>(levels.heights[level]);
    const scalar_t* location = locations + 2 * place;
    const scalar_t* weight = weights + place;
    taps.locate(count, levels.heights[level], levels.widths[level], [&](int first) {
      const auto at = [&](int lane) { return first + lane < count ? first + lane : 0; };
      const Floats u = Math::each([&](int lane) { return location[2 * at(lane)]; });
      const Floats v = Math::each([&](int lane) { return location[2 * at(lane) + 1]; });
      return Block{u * width - scalar_t(0.5), v * height - scalar_t(0.5),
                   Math::each([&](int lane) { return weight[at(lane)]; })};
    });
  }
};

template <typename scalar_t, int kChannels>
struct DeformableAttention {
  AttentionPlaces<scalar_t> places;
  MapStrides strides;
  const scalar_t* value;
  scalar_t* output;  // (B, Q, channels)
  int64_t channels;  // of all heads

  EAGLERAY_HD void operator()(int64_t image, int64_t query, int64_t lane) const {
    int64_t place = places.place(image, query, lane);
    const scalar_t* map = value + strides.first<kChannels>(image, lane, places.lanes_per_head);
    auto sum = Row<scalar_t, kChannels>::zeros();
    Taps<scalar_t> taps;
    for (int level = 0; level < places.levels.count; ++level) {
      for (int begin = 0; begin < places.points; begin += kTaps) {
        const int left = places.points - begin, count = left < kTaps ? left : kTaps;
        places.locate(level, place, count, taps);
        add_samples(taps, map, strides.pixel, sum);
        place += count;
      }
      map += places.levels.pixels(level) * strides.pixel;
    }
    sum.store(output + (image * places.queries + query) * channels + lane * kChannels);
  }
};

template <typename scalar_t, int kChannels>
struct DeformableAttentionBackward {
  AttentionPlaces<scalar_t> places;
  MapStrides strides;  // of value and grad_value
  const scalar_t* grad;
  const scalar_t* value;
  scalar_t* grad_value;
  scalar_t* grad_locations;
  scalar_t* grad_weights;
  int64_t channels;

  EAGLERAY_HD void operator()(int64_t image, int64_t query, int64_t lane) const {
    int64_t place = places.place(image, query, lane);
    int64_t start = strides.first<kChannels>(image, lane, places.lanes_per_head);
    const auto on_output = Row<scalar_t, kChannels>::load(
        grad + (image * places.queries + query) * channels + lane * kChannels);
    Taps<scalar_t> taps;
    for (int level = 0; level < places.levels.count; ++level) {
      const scalar_t width = static_cast<scalar_t>(places.levels.widths[level]);
      const scalar_t height = static_cast<scalar_t>(places.levels.heights[level]);
      for (int begin = 0; begin < places.points; begin += kTaps) {
        const int left = places.points - begin, count = left < kTaps ? left : kTaps;
        places.locate(level, place, count, taps);
        const auto on = add_sample_gradients(taps, count, on_output, value + start, strides.pixel,
                                             grad_value + start);
        for (int t = 0; t < count; ++t) {
          const bool is_all = places.lanes_per_head == 1;
          set_or_add_to(grad_weights + place + t, on.weight[t], is_all);
          set_or_add_to(grad_locations + 2 * (place + t), on.x[t] * width, is_all);
          set_or_add_to(grad_locations + 2 * (place + t) + 1, on.y[t] * height, is_all);
        }
        place += count;
      }
      start += places.levels.pixels(level) * strides.pixel;
    }
  }
};

inline MapLevels check_attention(const at::Tensor& value, at::IntArrayRef heights,
                                 at::IntArrayRef widths, const at::Tensor& locations,
                                 const at::Tensor& weights) {
  TORCH_CHECK(heights.size() == widths.size() && heights.size() >= 1 && heights.size() <= kMaxLevels,
              "deformable_attention: 1 to ", kMaxLevels, " levels, found ", heights.size());
  TORCH_CHECK(value.dim() == 4 && weights.dim() == 5 && locations.dim() == 6 &&
                  locations.sizes().slice(0, 5) == weights.sizes() && locations.size(5) == 2 &&
                  weights.size(0) == value.size(0) && weights.size(2) == value.size(2) &&
                  weights.size(3) == static_cast<int64_t>(heights.size()),
              "deformable_attention: value (B, S, M, D), locations (B, Q, M, L, P, 2), weights (B, "
              "Q, M, L, P)");
  TORCH_CHECK(value.scalar_type() == locations.scalar_type() &&
                  value.scalar_type() == weights.scalar_type(),
              "deformable_attention: one type for all");
  MapLevels levels{.count = static_cast<int>(heights.size())};
  int64_t rows = 0;
  for (int level = 0; level < levels.count; ++level) {
    levels.heights[level] = static_cast<int>(heights[level]);
    levels.widths[level] = static_cast<int>(widths[level]);
    rows += heights[level] * widths[level];
  }
  TORCH_CHECK(rows == value.size(1), "deformable_attention: the levels have ", rows,
              " pixels, value ", value.size(1));
  return levels;
}

// `locations` and `weights` are contiguous.
template <typename scalar_t>
AttentionPlaces<scalar_t> attention_places(const MapLevels& levels, int lanes_per_head,
                                           const at::Tensor& locations, const at::Tensor& weights) {
  return {.levels = levels,
          .queries = weights.size(1),
          .heads = weights.size(2),
          .points = static_cast<int>(weights.size(4)),
          .lanes_per_head = lanes_per_head,
          .locations = locations.const_data_ptr<scalar_t>(),
          .weights = weights.const_data_ptr<scalar_t>()};
}

// Taps of a head in an image.
inline int64_t taps_per_head(const at::Tensor& weights) {
  return weights.size(1) * weights.size(3) * weights.size(4);
}

template <class Launch, typename scalar_t>
at::Tensor deformable_attention(const at::Tensor& value_in, at::IntArrayRef heights,
                                at::IntArrayRef widths, const at::Tensor& locations_in,
                                const at::Tensor& weights_in) {
  const MapLevels levels = check_attention(value_in, heights, widths, locations_in, weights_in);
  const Launch launch(value_in);
  const at::Tensor locations = locations_in.contiguous(), weights = weights_in.contiguous();
  const SampledMap value = sampled_map(value_in, value_in.scalar_type(), taps_per_head(weights));
  const int64_t images = value_in.size(0), heads = value_in.size(2), queries = weights.size(1);
  const int64_t channels = heads * value_in.size(3);
  at::Tensor output = at::empty({images, queries, channels}, value_in.options());
  with_channels<scalar_t>(value_in.size(3), [&](auto lane_channels) {
    constexpr int kChannels = decltype(lane_channels)::value;
    const int lanes = value_in.size(3) / kChannels;
    launch.for_each_cell(images, heads, queries, lanes, 10 * weights.size(3) * weights.size(4),
                         DeformableAttention<scalar_t, kChannels>{
                             attention_places<scalar_t>(levels, lanes, locations, weights),
                             value.strides, value.tensor.const_data_ptr<scalar_t>(),
                             output.data_ptr<scalar_t>(), channels});
  });
  return output;
}

template <class Launch, typename scalar_t>
std::tuple<at::Tensor, at::Tensor, at::Tensor> deformable_attention_backward(
    const at::Tensor& grad_in, const at::Tensor& value_in, at::IntArrayRef heights,
    at::IntArrayRef widths, const at::Tensor& locations_in, const at::Tensor& weights_in) {
  const MapLevels levels = check_attention(value_in, heights, widths, locations_in, weights_in);
  const int64_t images = value_in.size(0), heads = value_in.size(2), queries = weights_in.size(1);
  const int64_t channels = heads * value_in.size(3);
  TORCH_CHECK(grad_in.dim() == 3 && grad_in.size(0) == images && grad_in.size(1) == queries &&
                  grad_in.size(2) == channels && grad_in.scalar_type() == value_in.scalar_type(),
              "deformable_attention_backward: grad must have the shape (B, Q, M D)");
  const Launch launch(value_in);
  const at::Tensor locations = locations_in.contiguous(), weights = weights_in.contiguous();
  const at::Tensor grad = grad_in.contiguous();
  const SampledMap value = sampled_map(value_in, value_in.scalar_type(), taps_per_head(weights));
  const at::Tensor grad_value = zeros_like_map(value.tensor, value_in.scalar_type());
  const at::Tensor grad_locations = at::empty(locations.sizes(), locations.options());
  const at::Tensor grad_weights = at::empty(weights.sizes(), weights.options());
  with_channels<scalar_t>(value_in.size(3), [&](auto lane_channels) {
    constexpr int kChannels = decltype(lane_channels)::value;
    const int lanes = value_in.size(3) / kChannels;
    if (lanes > 1) grad_locations.zero_(), grad_weights.zero_();
    launch.for_each_owned_cell(images, heads, queries, lanes,
                               DeformableAttentionBackward<scalar_t, kChannels>{
                                   attention_places<scalar_t>(levels, lanes, locations, weights),
                                   value.strides, grad.const_data_ptr<scalar_t>(),
                                   value.tensor.const_data_ptr<scalar_t>(),
                                   grad_value.data_ptr<scalar_t>(),
                                   grad_locations.data_ptr<scalar_t>(),
                                   grad_weights.data_ptr<scalar_t>(), channels});
  });
  return {grad_value.contiguous(), grad_locations, grad_weights};
}

}  // namespace eagleray
