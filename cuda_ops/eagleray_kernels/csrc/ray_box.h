// Intersections of rays with axis-aligned boxes (slab test) and with spheres. Per ray the first
// `max_hits` hits in the order of the volumes are kept and sorted by their near distance; unused
// slots hold -1 and come first. `count` counts all hits, kept or not.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <tuple>

#include "portable.h"

namespace eagleray {

struct RayVolumes {
  const float* rays_o;
  const float* rays_d;
  const float* centers;
  const float* extents;  // half sizes (V, 3) of boxes, radii (V,) of spheres
  int64_t num_volumes;
  int64_t max_hits;
  int32_t* count;
  float* hits_t;
  int64_t* volume_idx;

  EAGLERAY_HD void keep(int64_t ray, int64_t volume, float near, float far) const {
    const int64_t arrival = count[ray]++;
    if (arrival >= max_hits) return;
    float* t = hits_t + 2 * max_hits * ray;
    int64_t* idx = volume_idx + max_hits * ray;
    int64_t slot = max_hits - 1 - arrival;  // slots before this one are unused
    for (; slot + 1 < max_hits && t[2 * (slot + 1)] <= near; ++slot) {
      t[2 * slot] = t[2 * (slot + 1)];
      t[2 * slot + 1] = t[2 * (slot + 1) + 1];
      idx[slot] = idx[slot + 1];
    }
    t[2 * slot] = near;
    t[2 * slot + 1] = far;
    idx[slot] = volume;
  }
};

struct IntersectBoxes : RayVolumes {
  EAGLERAY_HD void operator()(int64_t ray) const {
    for (int64_t volume = 0; volume < num_volumes; ++volume) {
      float near = -INFINITY, far = INFINITY;
      for (int axis = 0; axis < 3; ++axis) {
        const float origin = rays_o[3 * ray + axis];
        const float inverse = 1.0f / rays_d[3 * ray + axis];
        const float center = centers[3 * volume + axis];
        const float half = extents[3 * volume + axis];
        const float a = (center - half - origin) * inverse;
        const float b = (center + half - origin) * inverse;
        near = nan_max(near, nan_min(a, b));
        far = nan_min(far, nan_max(a, b));
      }
      if (near <= far && far > 0.0f) keep(ray, volume, nan_max(near, 0.0f), far);
    }
  }
};

struct IntersectSpheres : RayVolumes {
  EAGLERAY_HD void operator()(int64_t ray) const {
    const float* d = rays_d + 3 * ray;
    const float a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    for (int64_t volume = 0; volume < num_volumes; ++volume) {
      float half_b = 0.0f, c = 0.0f;
      for (int axis = 0; axis < 3; ++axis) {
        const float offset = rays_o[3 * ray + axis] - centers[3 * volume + axis];
        half_b += d[axis] * offset;
        c += offset * offset;
      }
      c -= extents[volume] * extents[volume];
      const float discriminant = half_b * half_b - a * c;
      if (discriminant < 0.0f) continue;
      const float root = sqrtf(discriminant);
      const float near = (-half_b - root) / a;
      const float far = (-half_b + root) / a;
      if (far > 0.0f) keep(ray, volume, nan_max(near, 0.0f), far);
    }
  }
};

template <class Launch, class Intersect>
std::tuple<at::Tensor, at::Tensor, at::Tensor> intersect(const at::Tensor& rays_o_in,
                                                         const at::Tensor& rays_d_in,
                                                         const at::Tensor& centers_in,
                                                         const at::Tensor& extents_in,
                                                         int64_t max_hits) {
  const int64_t num_rays = rays_o_in.size(0);
  TORCH_CHECK(rays_d_in.sizes() == rays_o_in.sizes() && rays_o_in.size(-1) == 3,
              "rays_o and rays_d must have shape (N, 3)");
  TORCH_CHECK(centers_in.size(0) == extents_in.size(0), "one extent per center is needed");
  const Launch launch(rays_o_in);
  const at::Tensor rays_o = rays_o_in.contiguous(), rays_d = rays_d_in.contiguous();
  const at::Tensor centers = centers_in.contiguous(), extents = extents_in.contiguous();
  at::Tensor count = at::full({num_rays}, 0, rays_o.options().dtype(at::kInt));
  at::Tensor hits_t = at::full({num_rays, max_hits, 2}, -1.0, rays_o.options());
  at::Tensor idx = at::full({num_rays, max_hits}, -1, rays_o.options().dtype(at::kLong));
  Intersect functor;
  static_cast<RayVolumes&>(functor) =
      RayVolumes{rays_o.const_data_ptr<float>(),  rays_d.const_data_ptr<float>(),
                 centers.const_data_ptr<float>(), extents.const_data_ptr<float>(),
                 centers.size(0),                 max_hits,
                 count.data_ptr<int32_t>(),       hits_t.data_ptr<float>(),
                 idx.data_ptr<int64_t>()};
  launch.for_each(num_rays, 15 * centers.size(0), functor);
  return {count, hits_t, idx};
}

}  // namespace eagleray
