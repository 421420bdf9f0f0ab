// Bilinear sampling of maps at positions in pixels, zero outside, and its gradients with respect to
// map, position and weight: the core of deformable convolution and of deformable attention.
//
// A map is height * width rows of channels, `stride` elements from one pixel's row to the next.
// Pixel centers are integers. Positions ("taps") come in blocks: first the corners of all taps are
// found, without branches and in lanes, then the rows of the corners are read, kChannels elements
// each, a number that the compiler knows. A CUDA thread takes blocks of one tap.
#pragma once

#include "lanes.h"

namespace eagleray {

// Corners of a tap count row by row: above left, above right, below left, below right.
constexpr int kCorners = 4;

#ifdef __CUDACC__
constexpr int kTaps = 1;
#else
constexpr int kTaps = 16;
#endif

template <typename scalar_t>
struct Taps {
  static constexpr int kWidth = kRegisterWidth<scalar_t>;
  using Math = LaneMath<scalar_t, kWidth>;
  using Floats = typename Math::Floats;
  using Integers = typename Math::Integers;
  using integer_t = typename Math::integer_t;

  scalar_t weight[kTaps];
  scalar_t right[kTaps], below[kTaps];  // parts of the way to the corners to the right and below
  // Of every corner those on the map: pixel, weight of the tap times that of the corner, tap.
  integer_t pixel[kCorners][kTaps];
  scalar_t part[kCorners][kTaps];
  int tap[kCorners][kTaps];
  int count[kCorners];

  // Finds the corners of `num_taps` taps; position(first) gives x, y and weight of kWidth of them.
  // Where that reads behind the last one, it may give anything.
  template <class Position>
  EAGLERAY_HD void locate(int num_taps, int height, int width, const Position& position) {
    Integers any_outside = {};
    for (int first = 0; first < num_taps; first += kWidth) {
      const auto [x, y, tap_weight] = position(first);
      // Written so that a position that is no number is outside.
      const Integers on_map = Math::mask(x >= scalar_t(-1)) & Math::mask(y >= scalar_t(-1)) &
                              Math::mask(x < static_cast<scalar_t>(width)) &
                              Math::mask(y < static_cast<scalar_t>(height));
      const Floats u = Math::only(on_map, x), v = Math::only(on_map, y);
      // Not negative after the addition, so that cutting the decimals off rounds down.
      Integers column = Math::truncate(u + scalar_t(1)) - 1;
      Integers row = Math::truncate(v + scalar_t(1)) - 1;
      // The addition may have rounded the last number below the width, a power of two, up to it.
      column += Math::mask(column >= width);
      row += Math::mask(row >= height);
      const Floats to_right = u - Math::to_floats(column), to_below = v - Math::to_floats(row);
      const Floats upper = tap_weight * (scalar_t(1) - to_below), lower = tap_weight * to_below;
      const Floats to_left = scalar_t(1) - to_right;
      Math::store(tap_weight, weight + first);
      Math::store(to_right, right + first);
      Math::store(to_below, below + first);
      Math::store(Floats(upper * to_left), part[0] + first);
      Math::store(Floats(upper * to_right), part[1] + first);
      Math::store(Floats(lower * to_left), part[2] + first);
      Math::store(Floats(lower * to_right), part[3] + first);
      const Integers left_on = on_map & Math::mask(column >= 0);
      const Integers right_on = on_map & Math::mask(column < width - 1);
      const Integers above_on = Math::mask(row >= 0), below_on = Math::mask(row < height - 1);
      const Integers first_pixel = row * width + column;
      const Integers on[kCorners] = {left_on & above_on, right_on & above_on, left_on & below_on,
                                     right_on & below_on};
      const int step[kCorners] = {0, 1, width, width + 1};
      EAGLERAY_UNROLL
      for (int corner = 0; corner < kCorners; ++corner) {
        Math::store(Integers((first_pixel + step[corner]) | ~on[corner]), pixel[corner] + first);
        any_outside |= ~on[corner];
      }
    }
    keep_those_on_the_map(num_taps, any_outside);
  }

 private:
  // Outside pixels are -1 until here.
  EAGLERAY_HD void keep_those_on_the_map(int num_taps, const Integers& any_outside) {
    bool is_whole = true;
    if constexpr (kWidth == 1) {
      is_whole = any_outside == 0;
    } else {
      for (int lane = 0; lane < kWidth; ++lane) is_whole = is_whole && any_outside[lane] == 0;
    }
    EAGLERAY_UNROLL
    for (int corner = 0; corner < kCorners; ++corner) {
      int kept = 0;
      if (is_whole) {
        for (; kept < num_taps; ++kept) tap[corner][kept] = kept;
      } else {
        for (int t = 0; t < num_taps; ++t) {
          pixel[corner][kept] = pixel[corner][t];
          part[corner][kept] = part[corner][t];
          tap[corner][kept] = t;
          kept += pixel[corner][t] >= 0;
        }
      }
      count[corner] = kept;
    }
  }
};

// Adds the weighted samples to `sum`.
template <int kChannels, typename value_t, typename scalar_t>
EAGLERAY_HD void add_samples(const Taps<scalar_t>& taps, const value_t* map, int64_t stride,
                             Row<scalar_t, kChannels>& sum) {
  for (int corner = 0; corner < kCorners; ++corner) {
    for (int k = 0; k < taps.count[corner]; ++k) {
      sum.add_scaled(taps.part[corner][k],
                     Row<scalar_t, kChannels>::load(map + taps.pixel[corner][k] * stride));
    }
  }
}

// Writes a sum's only part, or adds one of several.
template <typename scalar_t>
EAGLERAY_HD void set_or_add_to(scalar_t* target, scalar_t value, bool is_only) {
  if (is_only) {
    *target = value;
  } else {
    add_to(target, value);
  }
}

// Gradients of the weights and the positions of a block of taps.
template <typename scalar_t>
struct TapGradients {
  scalar_t weight[kTaps], x[kTaps], y[kTaps];
};

// Gradients of sum_i grad[i] sum_t weight[t] sample_t[i]. The map's is added to `grad_map`, of the
// map's layout.
template <int kChannels, typename value_t, typename scalar_t>
EAGLERAY_HD TapGradients<scalar_t> add_sample_gradients(const Taps<scalar_t>& taps, int num_taps,
                                                        const Row<scalar_t, kChannels>& grad,
                                                        const value_t* map, int64_t stride,
                                                        scalar_t* grad_map) {
  scalar_t product[kCorners][kTaps] = {};  // of the gradient with the corners' rows
  for (int corner = 0; corner < kCorners; ++corner) {
    for (int k = 0; k < taps.count[corner]; ++k) {
      const int64_t start = taps.pixel[corner][k] * stride;
      product[corner][taps.tap[corner][k]] =
          grad.dot(Row<scalar_t, kChannels>::load(map + start));
      grad.add_scaled_to(taps.part[corner][k], grad_map + start);
    }
  }
  using Math = typename Taps<scalar_t>::Math;
  TapGradients<scalar_t> result;
  for (int t = 0; t < num_taps; t += Taps<scalar_t>::kWidth) {
    const auto a = Math::load(product[0] + t), b = Math::load(product[1] + t);
    const auto c = Math::load(product[2] + t), d = Math::load(product[3] + t);
    const auto right = Math::load(taps.right + t), below = Math::load(taps.below + t);
    const auto left = scalar_t(1) - right, above = scalar_t(1) - below;
    const auto weight = Math::load(taps.weight + t);
    using Floats = typename Math::Floats;
    Math::store(Floats(above * (left * a + right * b) + below * (left * c + right * d)),
                result.weight + t);
    Math::store(Floats(weight * (above * (b - a) + below * (d - c))), result.x + t);
    Math::store(Floats(weight * (left * (c - a) + right * (d - b))), result.y + t);
  }
  return result;
}

}  // namespace eagleray
