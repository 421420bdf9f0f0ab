// Volume rendering of flat samples along rays, front to back with early stop, and its gradient.
//
//   alpha_s = 1 - exp(-sigma_s delta_s),  w_s = alpha_s T,  T' = T (1 - alpha_s)
//
// The sample that takes the transmittance T' to the threshold or below is the last one; later weights
// are 0. Outputs are sums over w_s; nothing is normalised and no background is added.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <tuple>

#include "portable.h"

namespace eagleray {

template <typename scalar_t>
EAGLERAY_HD void set_zero(scalar_t* values, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) values[i] = 0;
}

template <typename scalar_t>
struct CompositeRays {
  const int64_t* rays_a;
  int64_t num_rays;
  int64_t num_samples;
  const scalar_t* clearness;  // exp(-sigma delta) = 1 - alpha
  const scalar_t* rgbs;
  const scalar_t* feats;
  int64_t rgb_channels;
  int64_t feat_channels;
  const scalar_t* ts;
  scalar_t threshold;
  int64_t* total_samples;
  scalar_t* opacity;
  scalar_t* depth;
  scalar_t* rgb;
  scalar_t* feat;
  scalar_t* ws;

  EAGLERAY_HD void operator()(int64_t row) const {
    const Segment segment = read_segment(rays_a, row, num_rays, num_samples);
    if (segment.ray < 0) return;
    const scalar_t one = 1;
    scalar_t transmittance = 1, opacity_sum = 0, depth_sum = 0;
    int64_t before_stop = 0, used = 0;
    for (; used < segment.count && before_stop == used; ++used) {
      const int64_t s = segment.start + used;
      const scalar_t alpha = one - clearness[s];
      const scalar_t weight = alpha * transmittance;
      ws[s] = weight;
      opacity_sum += weight;
      depth_sum += weight * ts[s];
      transmittance *= one - alpha;
      before_stop += transmittance > threshold;
    }
    set_zero(ws, segment.start + used, segment.start + segment.count);
    total_samples[segment.ray] = before_stop;
    opacity[segment.ray] = opacity_sum;
    depth[segment.ray] = depth_sum;
    weighted_sum(rgbs, rgb_channels, segment.start, used, rgb + segment.ray * rgb_channels);
    weighted_sum(feats, feat_channels, segment.start, used, feat + segment.ray * feat_channels);
  }

  // sums[c] = sum over samples of ws[s] * values[s, c], four channels at a time in registers.
  EAGLERAY_HD void weighted_sum(const scalar_t* values, int64_t channels, int64_t start,
                                int64_t count, scalar_t* sums) const {
    int64_t c = 0;
    for (; c + 4 <= channels; c += 4) sum_channels<4>(values, channels, c, start, count, sums);
    if (channels - c == 3) sum_channels<3>(values, channels, c, start, count, sums);
    if (channels - c == 2) sum_channels<2>(values, channels, c, start, count, sums);
    if (channels - c == 1) sum_channels<1>(values, channels, c, start, count, sums);
  }

  template <int kWidth>
  EAGLERAY_HD void sum_channels(const scalar_t* values, int64_t channels, int64_t c, int64_t start,
                                int64_t count, scalar_t* sums) const {
    scalar_t sum[kWidth] = {};
    for (int64_t s = start; s < start + count; ++s) {
      for (int k = 0; k < kWidth; ++k) sum[k] += ws[s] * values[s * channels + c + k];
    }
    for (int k = 0; k < kWidth; ++k) sums[c + k] = sum[k];
  }
};

// With g_s = dL/dw_s (through colour, features, opacity, depth and the weight itself):
//   dL/dsigma_s = delta_s [ g_s T' - sum_{k>s} g_k w_k ],  dL/dvalue_s = w_s dL/dsum.
// `legacy` keeps the published feature kernel's error: in its feature term the sum runs over all
// samples but s instead of those behind s.
template <typename scalar_t>
struct CompositeRaysBackward {
  const int64_t* rays_a;
  int64_t num_rays;
  int64_t num_samples;
  const scalar_t* rgbs;
  const scalar_t* feats;
  int64_t rgb_channels;
  int64_t feat_channels;
  const scalar_t* deltas;
  const scalar_t* ts;
  const scalar_t* ws;
  const int64_t* total_samples;
  const scalar_t* grad_opacity;
  const scalar_t* grad_depth;
  const scalar_t* grad_rgb;
  const scalar_t* grad_feat;
  const scalar_t* grad_ws;
  bool legacy;
  scalar_t* grad_sigmas;  // null where not asked for, as are the next two
  scalar_t* grad_rgbs;
  scalar_t* grad_feats;

  EAGLERAY_HD void operator()(int64_t row) const {
    const Segment segment = read_segment(rays_a, row, num_rays, num_samples);
    if (segment.ray < 0) return;
    const int64_t stop = total_samples[segment.ray];
    const int64_t used = stop < segment.count ? stop + 1 : segment.count;
    const scalar_t* on_rgb = grad_rgb + segment.ray * rgb_channels;
    const scalar_t* on_feat = grad_feat + segment.ray * feat_channels;
    if (grad_sigmas != nullptr) to_sigmas(segment, used, on_rgb, on_feat);
    if (grad_rgbs != nullptr) to_values(segment, used, on_rgb, rgb_channels, grad_rgbs);
    if (grad_feats != nullptr) to_values(segment, used, on_feat, feat_channels, grad_feats);
  }

  EAGLERAY_HD scalar_t dot(const scalar_t* a, const scalar_t* b, int64_t channels) const {
    if (channels == 3) return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    scalar_t partial[4] = {};
    int64_t c = 0;
    for (; c + 4 <= channels; c += 4) {
      for (int k = 0; k < 4; ++k) partial[k] += a[c + k] * b[c + k];
    }
    for (; c < channels; ++c) partial[0] += a[c] * b[c];
    return (partial[0] + partial[1]) + (partial[2] + partial[3]);
  }

  EAGLERAY_HD scalar_t through_feat(int64_t s, const scalar_t* on_feat) const {
    return dot(on_feat, feats + s * feat_channels, feat_channels);
  }

  EAGLERAY_HD void to_sigmas(const Segment& segment, int64_t used, const scalar_t* on_rgb,
                             const scalar_t* on_feat) const {
    scalar_t total = 0, total_feat = 0;
    for (int64_t s = segment.start; s < segment.start + used; ++s) {
      scalar_t g = grad_opacity[segment.ray] + grad_depth[segment.ray] * ts[s] + grad_ws[s] +
                   dot(on_rgb, rgbs + s * rgb_channels, rgb_channels);
      if (legacy) {
        total_feat += ws[s] * through_feat(s, on_feat);
      } else {
        g += through_feat(s, on_feat);
      }
      grad_sigmas[s] = g;
      total += ws[s] * g;
    }
    scalar_t transmittance = 1, sum = 0;
    for (int64_t s = segment.start; s < segment.start + used; ++s) {
      const scalar_t g = grad_sigmas[s];
      sum += ws[s] * g;
      transmittance -= ws[s];
      scalar_t bracket = g * transmittance - (total - sum);
      if (legacy) {
        const scalar_t g_feat = through_feat(s, on_feat);
        bracket += g_feat * transmittance - (total_feat - ws[s] * g_feat);
      }
      grad_sigmas[s] = deltas[s] * bracket;
    }
    set_zero(grad_sigmas, segment.start + used, segment.start + segment.count);
  }

  EAGLERAY_HD void to_values(const Segment& segment, int64_t used, const scalar_t* on_sum,
                             int64_t channels, scalar_t* grads) const {
    const int64_t end = segment.start + used;
    for (int64_t s = segment.start; s < end; ++s) {
      const scalar_t weight = ws[s];
      scalar_t* grad = grads + s * channels;
      if (channels == 3) {
        grad[0] = weight * on_sum[0];
        grad[1] = weight * on_sum[1];
        grad[2] = weight * on_sum[2];
        continue;
      }
      for (int64_t c = 0; c < channels; ++c) grad[c] = weight * on_sum[c];
    }
    set_zero(grads, end * channels, (segment.start + segment.count) * channels);
  }
};

inline void check_composite(const at::Tensor& sigmas, const at::Tensor& rgbs,
                            const at::Tensor& feats, const at::Tensor& deltas,
                            const at::Tensor& ts, const at::Tensor& rays_a) {
  const int64_t num_samples = sigmas.size(0);
  TORCH_CHECK(sigmas.dim() == 1 && rgbs.dim() == 2 && feats.dim() == 2 && rays_a.dim() == 2 &&
                  rays_a.size(1) == 3,
              "composite: sigmas (M,), rgbs (M, C), feats (M, F), rays_a (N, 3) are needed");
  TORCH_CHECK(rgbs.size(0) == num_samples && feats.size(0) == num_samples &&
                  deltas.size(0) == num_samples && ts.size(0) == num_samples,
              "composite: one row per sample is needed");
}

// Returns opacity (N,), depth (N,), rgb (N, C), feat (N, F), ws (M,), total_samples (N,).
template <class Launch, typename scalar_t>
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> composite_train(
    const at::Tensor& sigmas_in, const at::Tensor& rgbs_in, const at::Tensor& feats_in,
    const at::Tensor& deltas_in, const at::Tensor& ts_in, const at::Tensor& rays_a_in,
    double threshold, bool /*legacy: concerns the gradient*/) {
  check_composite(sigmas_in, rgbs_in, feats_in, deltas_in, ts_in, rays_a_in);
  const Launch launch(sigmas_in);
  // PyTorch's exponential uses the vector units, which a loop along a ray cannot.
  const at::Tensor clearness = sigmas_in.mul(deltas_in).neg_().exp_().contiguous();
  const at::Tensor rgbs = rgbs_in.contiguous(), feats = feats_in.contiguous();
  const at::Tensor ts = ts_in.contiguous(), rays_a = rays_a_in.contiguous();
  const int64_t num_rays = rays_a.size(0), num_samples = clearness.size(0);
  const auto options = clearness.options();
  at::Tensor total = at::zeros({num_rays}, rays_a.options());
  at::Tensor opacity = at::zeros({num_rays}, options), depth = at::zeros({num_rays}, options);
  at::Tensor rgb = at::zeros({num_rays, rgbs.size(1)}, options);
  at::Tensor feat = at::zeros({num_rays, feats.size(1)}, options);
  at::Tensor ws = launch.covers_all(rays_a, num_samples) ? at::empty({num_samples}, options)
                                                         : at::zeros({num_samples}, options);
  const CompositeRays<scalar_t> functor{rays_a.const_data_ptr<int64_t>(),
                                        num_rays,
                                        num_samples,
                                        clearness.const_data_ptr<scalar_t>(),
                                        rgbs.const_data_ptr<scalar_t>(),
                                        feats.const_data_ptr<scalar_t>(),
                                        rgbs.size(1),
                                        feats.size(1),
                                        ts.const_data_ptr<scalar_t>(),
                                        static_cast<scalar_t>(threshold),
                                        total.data_ptr<int64_t>(),
                                        opacity.data_ptr<scalar_t>(),
                                        depth.data_ptr<scalar_t>(),
                                        rgb.data_ptr<scalar_t>(),
                                        feat.data_ptr<scalar_t>(),
                                        ws.data_ptr<scalar_t>()};
  launch.for_each(num_rays, 500, functor);
  return {opacity, depth, rgb, feat, ws, total};
}

// Returns the gradients of sigmas, rgbs and feats; one that is not needed is empty.
template <class Launch, typename scalar_t>
std::tuple<at::Tensor, at::Tensor, at::Tensor> composite_train_backward(
    const at::Tensor& grad_opacity_in, const at::Tensor& grad_depth_in,
    const at::Tensor& grad_rgb_in, const at::Tensor& grad_feat_in, const at::Tensor& grad_ws_in,
    const at::Tensor& rgbs_in, const at::Tensor& feats_in, const at::Tensor& deltas_in,
    const at::Tensor& ts_in, const at::Tensor& rays_a_in, const at::Tensor& ws_in,
    const at::Tensor& total_in, bool legacy, bool need_sigmas, bool need_rgbs, bool need_feats) {
  check_composite(ws_in, rgbs_in, feats_in, deltas_in, ts_in, rays_a_in);
  const Launch launch(ws_in);
  const at::Tensor grad_opacity = grad_opacity_in.contiguous();
  const at::Tensor grad_depth = grad_depth_in.contiguous();
  const at::Tensor grad_rgb = grad_rgb_in.contiguous(), grad_feat = grad_feat_in.contiguous();
  const at::Tensor grad_ws = grad_ws_in.contiguous(), rgbs = rgbs_in.contiguous();
  const at::Tensor feats = feats_in.contiguous(), deltas = deltas_in.contiguous();
  const at::Tensor ts = ts_in.contiguous(), rays_a = rays_a_in.contiguous();
  const at::Tensor ws = ws_in.contiguous(), total = total_in.contiguous();
  const bool covered = launch.covers_all(rays_a, ws.size(0));
  const auto make = [&](bool needed, at::DimVector shape) {
    if (!needed) shape[0] = 0;
    return covered ? at::empty(shape, ws.options()) : at::zeros(shape, ws.options());
  };
  at::Tensor grad_sigmas = make(need_sigmas, {ws.size(0)});
  at::Tensor grad_rgbs = make(need_rgbs, {ws.size(0), rgbs.size(1)});
  at::Tensor grad_feats = make(need_feats, {ws.size(0), feats.size(1)});
  const CompositeRaysBackward<scalar_t> functor{
      rays_a.const_data_ptr<int64_t>(),
      rays_a.size(0),
      ws.size(0),
      rgbs.const_data_ptr<scalar_t>(),
      feats.const_data_ptr<scalar_t>(),
      rgbs.size(1),
      feats.size(1),
      deltas.const_data_ptr<scalar_t>(),
      ts.const_data_ptr<scalar_t>(),
      ws.const_data_ptr<scalar_t>(),
      total.const_data_ptr<int64_t>(),
      grad_opacity.const_data_ptr<scalar_t>(),
      grad_depth.const_data_ptr<scalar_t>(),
      grad_rgb.const_data_ptr<scalar_t>(),
      grad_feat.const_data_ptr<scalar_t>(),
      grad_ws.const_data_ptr<scalar_t>(),
      legacy,
      need_sigmas ? grad_sigmas.data_ptr<scalar_t>() : nullptr,
      need_rgbs ? grad_rgbs.data_ptr<scalar_t>() : nullptr,
      need_feats ? grad_feats.data_ptr<scalar_t>() : nullptr};
  launch.for_each(rays_a.size(0), 500, functor);
  return {grad_sigmas, grad_rgbs, grad_feats};
}

}  // namespace eagleray
