// One round of volume rendering for the rays that are still alive: adds the next samples to what the
// rays have gathered so far, in place, and retires rays that are opaque or have left occupied space.
#pragma once

#include "portable.h"

namespace eagleray {

struct CompositeLiveRays {
  const float* sigmas;
  const float* rgbs;
  const float* feats;
  const float* deltas;
  const float* ts;
  const int32_t* counts;
  int64_t num_rays;
  int64_t num_samples;
  int64_t rgb_channels;
  int64_t feat_channels;
  float threshold;
  int64_t* alive;
  float* opacity;
  float* depth;
  float* rgb;
  float* feat;

  EAGLERAY_HD static void add(const float* value, float weight, int64_t channels, float* sum) {
    for (int64_t c = 0; c < channels; ++c) sum[c] += weight * value[c];
  }

  EAGLERAY_HD void operator()(int64_t i) const {
    const int64_t ray = alive[i];
    if (ray < 0 || ray >= num_rays) return;
    const int64_t count = counts[i] < num_samples ? counts[i] : num_samples;
    bool finished = count <= 0;
    float transmittance = 1.0f - opacity[ray];
    for (int64_t k = 0; k < count && !finished; ++k) {
      const int64_t s = i * num_samples + k;
      const float alpha = 1.0f - expf(-sigmas[s] * deltas[s]);
      const float weight = alpha * transmittance;
      opacity[ray] += weight;
      depth[ray] += weight * ts[s];
      add(rgbs + s * rgb_channels, weight, rgb_channels, rgb + ray * rgb_channels);
      add(feats + s * feat_channels, weight, feat_channels, feat + ray * feat_channels);
      transmittance *= 1.0f - alpha;
      finished = transmittance <= threshold;
    }
    if (finished) alive[i] = -1;
  }
};

template <class Launch>
void composite_test(const at::Tensor& sigmas_in, const at::Tensor& rgbs_in,
                    const at::Tensor& feats_in, const at::Tensor& deltas_in,
                    const at::Tensor& ts_in, const at::Tensor& counts_in, double threshold,
                    at::Tensor& alive, at::Tensor& opacity, at::Tensor& depth, at::Tensor& rgb,
                    at::Tensor& feat) {
  const int64_t num_alive = alive.size(0), num_rays = opacity.size(0);
  TORCH_CHECK(alive.is_contiguous() && opacity.is_contiguous() && depth.is_contiguous() &&
                  rgb.is_contiguous() && feat.is_contiguous(),
              "composite_test updates its outputs in place: they must be contiguous");
  TORCH_CHECK(sigmas_in.size(0) == num_alive && rgbs_in.size(0) == num_alive &&
                  feats_in.size(0) == num_alive && deltas_in.sizes() == sigmas_in.sizes() &&
                  ts_in.sizes() == sigmas_in.sizes() && counts_in.size(0) == num_alive &&
                  rgbs_in.size(1) == sigmas_in.size(1) && feats_in.size(1) == sigmas_in.size(1),
              "composite_test: one row per live ray, one column per sample is needed");
  TORCH_CHECK(depth.size(0) == num_rays && rgb.size(0) == num_rays && feat.size(0) == num_rays &&
                  rgb.size(1) == rgbs_in.size(2) && feat.size(1) == feats_in.size(2),
              "composite_test: outputs must have one row per ray and the channels of the samples");
  const Launch launch(opacity);
  const at::Tensor sigmas = sigmas_in.contiguous(), rgbs = rgbs_in.contiguous();
  const at::Tensor feats = feats_in.contiguous(), deltas = deltas_in.contiguous();
  const at::Tensor ts = ts_in.contiguous(), counts = counts_in.contiguous();
  launch.for_each(
      num_alive, 30 * sigmas.size(1),
      CompositeLiveRays{sigmas.const_data_ptr<float>(), rgbs.const_data_ptr<float>(),
                        feats.const_data_ptr<float>(), deltas.const_data_ptr<float>(),
                        ts.const_data_ptr<float>(), counts.const_data_ptr<int32_t>(), num_rays,
                        sigmas.size(1), rgbs.size(2), feats.size(2), static_cast<float>(threshold),
                        alive.data_ptr<int64_t>(), opacity.data_ptr<float>(),
                        depth.data_ptr<float>(), rgb.data_ptr<float>(), feat.data_ptr<float>()});
}

}  // namespace eagleray
