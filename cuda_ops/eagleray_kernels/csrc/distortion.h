// Distortion loss of the weights along a ray (mip-NeRF 360, arXiv 2111.12077, equation 15), in linear
// time with prefix sums W of w and V of w t:
//   sum_ij w_i w_j |t_i - t_j| + 1/3 sum_i w_i^2 delta_i.
// Distances count from the ray's first sample, which changes nothing but the rounding: W and V would
// otherwise cancel badly far from the camera.
#pragma once

#include <ATen/ops/zeros.h>

#include "portable.h"

namespace eagleray {

template <typename scalar_t>
struct DistortionLoss {
  const scalar_t* ws;
  const scalar_t* deltas;
  const scalar_t* ts;
  const int64_t* rays_a;
  int64_t num_rays;
  int64_t num_samples;
  scalar_t* loss;

  EAGLERAY_HD void operator()(int64_t row) const {
    const Segment segment = read_segment(rays_a, row, num_rays, num_samples);
    if (segment.ray < 0) return;
    if (segment.count == 0) return;
    const scalar_t origin = ts[segment.start];
    scalar_t w_before = 0, wt_before = 0, sum = 0;
    for (int64_t s = segment.start; s < segment.start + segment.count; ++s) {
      const scalar_t w = ws[s], wt = w * (ts[s] - origin);
      const scalar_t w_after = w_before + w, wt_after = wt_before + wt;
      sum += 2 * (wt_after * w_before - w_after * wt_before) + w * w * deltas[s] / 3;
      w_before = w_after;
      wt_before = wt_after;
    }
    loss[segment.ray] = sum;
  }
};

template <typename scalar_t>
struct DistortionLossBackward {
  const scalar_t* grad_loss;
  const scalar_t* ws;
  const scalar_t* deltas;
  const scalar_t* ts;
  const int64_t* rays_a;
  int64_t num_rays;
  int64_t num_samples;
  scalar_t* grad_ws;

  EAGLERAY_HD void operator()(int64_t row) const {
    const Segment segment = read_segment(rays_a, row, num_rays, num_samples);
    if (segment.ray < 0) return;
    const int64_t end = segment.start + segment.count;
    if (segment.count == 0) return;
    const scalar_t origin = ts[segment.start];
    scalar_t w_end = 0, wt_end = 0;
    for (int64_t s = segment.start; s < end; ++s) {
      w_end += ws[s];
      wt_end += ws[s] * (ts[s] - origin);
    }
    scalar_t w_before = 0, wt_before = 0;
    for (int64_t s = segment.start; s < end; ++s) {
      const scalar_t t = ts[s] - origin;
      const scalar_t w_after = w_before + ws[s], wt_after = wt_before + ws[s] * t;
      const scalar_t distances = (t * w_before - wt_before) + (wt_end - wt_after) -
                                 t * (w_end - w_after);
      grad_ws[s] = grad_loss[segment.ray] * (2 * distances + 2 * ws[s] * deltas[s] / 3);
      w_before = w_after;
      wt_before = wt_after;
    }
  }
};

inline void check_distortion(const at::Tensor& ws, const at::Tensor& deltas, const at::Tensor& ts,
                             const at::Tensor& rays_a) {
  TORCH_CHECK(ws.dim() == 1 && deltas.sizes() == ws.sizes() && ts.sizes() == ws.sizes() &&
                  rays_a.dim() == 2 && rays_a.size(1) == 3,
              "distortion: ws, deltas, ts (M,) and rays_a (N, 3) are needed");
}

template <class Launch, typename scalar_t>
at::Tensor distortion(const at::Tensor& ws_in, const at::Tensor& deltas_in, const at::Tensor& ts_in,
                      const at::Tensor& rays_a_in) {
  check_distortion(ws_in, deltas_in, ts_in, rays_a_in);
  const Launch launch(ws_in);
  const at::Tensor ws = ws_in.contiguous(), deltas = deltas_in.contiguous();
  const at::Tensor ts = ts_in.contiguous(), rays_a = rays_a_in.contiguous();
  at::Tensor loss = at::zeros({rays_a.size(0)}, ws.options());
  launch.for_each(rays_a.size(0), 200,
                  DistortionLoss<scalar_t>{
                      ws.const_data_ptr<scalar_t>(), deltas.const_data_ptr<scalar_t>(),
                      ts.const_data_ptr<scalar_t>(), rays_a.const_data_ptr<int64_t>(),
                      rays_a.size(0), ws.size(0), loss.data_ptr<scalar_t>()});
  return loss;
}

template <class Launch, typename scalar_t>
at::Tensor distortion_backward(const at::Tensor& grad_loss_in, const at::Tensor& ws_in,
                               const at::Tensor& deltas_in, const at::Tensor& ts_in,
                               const at::Tensor& rays_a_in) {
  check_distortion(ws_in, deltas_in, ts_in, rays_a_in);
  const Launch launch(ws_in);
  const at::Tensor grad_loss = grad_loss_in.contiguous(), ws = ws_in.contiguous();
  const at::Tensor deltas = deltas_in.contiguous(), ts = ts_in.contiguous();
  const at::Tensor rays_a = rays_a_in.contiguous();
  at::Tensor grad_ws = at::zeros({ws.size(0)}, ws.options());
  launch.for_each(rays_a.size(0), 300,
                  DistortionLossBackward<scalar_t>{
                      grad_loss.const_data_ptr<scalar_t>(), ws.const_data_ptr<scalar_t>(),
                      deltas.const_data_ptr<scalar_t>(), ts.const_data_ptr<scalar_t>(),
                      rays_a.const_data_ptr<int64_t>(), rays_a.size(0), ws.size(0),
                      grad_ws.data_ptr<scalar_t>()});
  return grad_ws;
}

}  // namespace eagleray
