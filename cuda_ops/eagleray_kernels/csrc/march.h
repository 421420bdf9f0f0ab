// Samples of rays in occupied space, for training (all samples, packed) and for rendering (the next
// few samples of each live ray).
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <tuple>

#include "march_grid.h"

namespace eagleray {

// Where the march of a training ray begins: its near distance, shifted by a random part of a step.
EAGLERAY_HD float jittered_start(const MarchGrid& grid, float near, float noise) {
  return near >= 0.0f ? near + grid.step_at(near) * noise : near;
}

struct TrainingRays {
  MarchGrid grid;
  const float* rays_o;
  const float* rays_d;
  const float* hits_t;
  const float* noise;
  int64_t max_samples;

  template <class Emit>
  EAGLERAY_HD int64_t march(int64_t ray, int64_t max_count, const Emit& emit) const {
    const float start = jittered_start(grid, hits_t[2 * ray], noise[ray]);
    if (!(start >= 0.0f)) return 0;
    return grid.march(read_ray(rays_o, rays_d, ray), start, hits_t[2 * ray + 1], max_count, emit);
  }
};

struct IgnoreSample {
  EAGLERAY_HD void operator()(int64_t, float, float) const {}
};

struct WriteStepAndT {
  float* deltas;
  float* ts;
  EAGLERAY_HD void operator()(int64_t sample, float t, float step) const {
    deltas[sample] = step;
    ts[sample] = t;
  }
};

struct CountTrainingSamples {
  TrainingRays rays;
  int64_t* counts;
  EAGLERAY_HD void operator()(int64_t ray) const {
    counts[ray] = rays.march(ray, rays.max_samples, IgnoreSample{});
  }
};

struct WriteTrainingSamples {
  TrainingRays rays;
  const int64_t* starts;
  const int64_t* counts;
  float* deltas;
  float* ts;
  EAGLERAY_HD void operator()(int64_t ray) const {
    rays.march(ray, counts[ray], WriteStepAndT{deltas + starts[ray], ts + starts[ray]});
  }
};

struct MarchLiveRays {
  MarchGrid grid;
  const float* rays_o;
  const float* rays_d;
  float* hits_t;
  const int64_t* alive;
  int64_t num_rays;
  int64_t num_samples;
  float* xyzs;
  float* dirs;
  float* deltas;
  float* ts;
  int32_t* counts;

  struct Emit {
    const Ray& ray;
    float* xyz;
    float* dir;
    float* delta;
    float* t_out;
    float* near;
    EAGLERAY_HD void operator()(int64_t sample, float t, float step) const {
      for (int axis = 0; axis < 3; ++axis) {
        xyz[3 * sample + axis] = ray.origin[axis] + t * ray.direction[axis];
        dir[3 * sample + axis] = ray.direction[axis];
      }
      delta[sample] = step;
      t_out[sample] = t;
      *near = t + step;
    }
  };

  EAGLERAY_HD void operator()(int64_t i) const {
    const int64_t r = alive[i];
    counts[i] = 0;
    if (r < 0 || r >= num_rays) return;
    const Ray ray = read_ray(rays_o, rays_d, r);
    const int64_t first = i * num_samples;
    const Emit emit{ray, xyzs + 3 * first, dirs + 3 * first, deltas + first, ts + first,
                    hits_t + 2 * r};
    counts[i] = static_cast<int32_t>(
        grid.march(ray, hits_t[2 * r], hits_t[2 * r + 1], num_samples, emit));
  }
};

// The occupancy bits with, per block size, whether a block holds any bit.
struct OccupancyBlocks {
  at::Tensor bits;
  at::Tensor occupied[MarchGrid::kNumBlockSizes];

  OccupancyBlocks(const at::Tensor& bitfield, int64_t cascades, int64_t size, bool skip) {
    bits = bitfield.contiguous();
    TORCH_CHECK(size >= 2 && (size & (size - 1)) == 0 && size <= 1024,
                "grid_size must be a power of two, at most 1024");
    TORCH_CHECK(cascades >= 1 && cascades <= 24 && bits.numel() * 8 == cascades * size * size * size,
                "bitfield must hold cascades * grid_size^3 bits");
    if (!skip) return;
    if (size >= 8) occupied[0] = bits.view(at::kLong).view({-1, 8}).ne(0).any(1);
    if (size >= 32) occupied[1] = occupied[0].view({-1, 64}).any(1);
  }

  MarchGrid grid(int64_t cascades, int64_t size, double scale, double step_factor, int64_t max_samples,
                 double step_scale) const {
    constexpr float kSqrt3 = 1.73205080757f;
    MarchGrid g;
    g.bits = bits.const_data_ptr<uint8_t>();
    for (int which = 0; which < MarchGrid::kNumBlockSizes; ++which) {
      g.block_occupied[which] =
          occupied[which].defined() ? occupied[which].const_data_ptr<bool>() : nullptr;
    }
    g.cascades = static_cast<int>(cascades);
    g.size = static_cast<int>(size);
    g.scale = static_cast<float>(scale);
    g.step_factor = static_cast<float>(step_factor);
    g.min_step = kSqrt3 / static_cast<float>(max_samples);
    g.max_step = kSqrt3 * 2.0f * static_cast<float>(step_scale) / static_cast<float>(size);
    return g;
  }
};

// Returns rays_a (N, 3) of (ray, start, count), deltas (M,), ts (M,) and counter (2,): samples, rays.
// With max_total_samples > 0 the rays from the first one on that would exceed it get no samples.
template <class Launch>
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> march_train(
    const at::Tensor& rays_o_in, const at::Tensor& rays_d_in, const at::Tensor& hits_t_in,
    const at::Tensor& bitfield, const at::Tensor& noise_in, int64_t cascades, double scale,
    double step_factor, int64_t grid_size, int64_t max_samples, int64_t max_total_samples,
    bool skip_empty_blocks) {
  const int64_t num_rays = rays_o_in.size(0);
  TORCH_CHECK(rays_d_in.size(0) == num_rays && hits_t_in.size(0) == num_rays &&
                  noise_in.size(0) == num_rays,
              "rays_o, rays_d, hits_t and noise must have one row per ray");
  const Launch launch(rays_o_in);
  const at::Tensor rays_o = rays_o_in.contiguous(), rays_d = rays_d_in.contiguous();
  const at::Tensor hits_t = hits_t_in.contiguous(), noise = noise_in.contiguous();
  const OccupancyBlocks blocks(bitfield, cascades, grid_size, skip_empty_blocks);
  const TrainingRays rays{
      blocks.grid(cascades, grid_size, scale, step_factor, max_samples, scale),
      rays_o.const_data_ptr<float>(), rays_d.const_data_ptr<float>(),
      hits_t.const_data_ptr<float>(), noise.const_data_ptr<float>(), max_samples};

  at::Tensor counts = at::empty({num_rays}, rays_o.options().dtype(at::kLong));
  launch.for_each(num_rays, 2000, CountTrainingSamples{rays, counts.data_ptr<int64_t>()});
  at::Tensor ends = counts.cumsum(0);
  at::Tensor starts = ends.sub(counts);
  int64_t total = num_rays > 0 ? ends[-1].template item<int64_t>() : 0;
  int64_t num_complete = num_rays;
  if (max_total_samples > 0 && total > max_total_samples) {
    num_complete = ends.le(max_total_samples).sum().template item<int64_t>();
    total = num_complete > 0 ? ends[num_complete - 1].template item<int64_t>() : 0;
    counts.slice(0, num_complete).zero_();
    starts.slice(0, num_complete).fill_(total);
  }
  at::Tensor deltas = at::empty({total}, rays_o.options());
  at::Tensor ts = at::empty({total}, rays_o.options());
  launch.for_each(num_rays, 2000,
                  WriteTrainingSamples{rays, starts.const_data_ptr<int64_t>(),
                                       counts.const_data_ptr<int64_t>(), deltas.data_ptr<float>(),
                                       ts.data_ptr<float>()});
  at::Tensor rays_a = at::stack({at::arange(num_rays, counts.options()), starts, counts}, 1);
  at::Tensor counter = at::empty({2}, counts.options().dtype(at::kInt));
  counter[0].fill_(total);
  counter[1].fill_(num_complete);
  return {rays_a, deltas, ts, counter};
}

// Returns xyzs (A, n, 3), dirs (A, n, 3), deltas (A, n), ts (A, n), counts (A,); unfilled samples are
// zero. hits_t[:, 0] of the rays that got samples moves to where their march goes on.
template <class Launch>
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> march_test(
    const at::Tensor& rays_o_in, const at::Tensor& rays_d_in, at::Tensor& hits_t,
    const at::Tensor& alive_in, const at::Tensor& bitfield, int64_t cascades, double scale,
    double step_factor, int64_t grid_size, int64_t max_samples, int64_t num_samples,
    double step_scale, bool skip_empty_blocks) {
  TORCH_CHECK(hits_t.is_contiguous(), "hits_t is updated in place and must be contiguous");
  TORCH_CHECK(rays_d_in.sizes() == rays_o_in.sizes() && hits_t.size(0) == rays_o_in.size(0),
              "rays_o, rays_d and hits_t must have one row per ray");
  const Launch launch(rays_o_in);
  const at::Tensor rays_o = rays_o_in.contiguous(), rays_d = rays_d_in.contiguous();
  const at::Tensor alive = alive_in.contiguous();
  const OccupancyBlocks blocks(bitfield, cascades, grid_size, skip_empty_blocks);
  const int64_t num_alive = alive.size(0);
  const auto options = rays_o.options();
  at::Tensor xyzs = at::zeros({num_alive, num_samples, 3}, options);
  at::Tensor dirs = at::zeros({num_alive, num_samples, 3}, options);
  at::Tensor deltas = at::zeros({num_alive, num_samples}, options);
  at::Tensor ts = at::zeros({num_alive, num_samples}, options);
  at::Tensor counts = at::empty({num_alive}, options.dtype(at::kInt));
  launch.for_each(
      num_alive, 200 * num_samples,
      MarchLiveRays{blocks.grid(cascades, grid_size, scale, step_factor, max_samples, step_scale),
                    rays_o.const_data_ptr<float>(), rays_d.const_data_ptr<float>(),
                    hits_t.data_ptr<float>(), alive.const_data_ptr<int64_t>(), rays_o.size(0),
                    num_samples, xyzs.data_ptr<float>(), dirs.data_ptr<float>(),
                    deltas.data_ptr<float>(), ts.data_ptr<float>(), counts.data_ptr<int32_t>()});
  return {xyzs, dirs, deltas, ts, counts};
}

}  // namespace eagleray
