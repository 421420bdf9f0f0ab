// Real spherical harmonics of unit directions up to degree 4 (16 values), with the signs of the
// Condon-Shortley convention, and the gradient of their polynomial form.
#pragma once

#include <ATen/ops/empty.h>

#include "portable.h"

namespace eagleray {

template <typename scalar_t>
struct SphericalHarmonics {
  const scalar_t* directions;
  int64_t num_values;
  scalar_t* encoded;

  EAGLERAY_HD void operator()(int64_t i) const {
    const scalar_t x = directions[3 * i], y = directions[3 * i + 1], z = directions[3 * i + 2];
    const scalar_t xx = x * x, yy = y * y, zz = z * z;
    const scalar_t values[16] = {
        scalar_t(0.28209479177387814),
        scalar_t(-0.48860251190291987) * y,
        scalar_t(0.48860251190291987) * z,
        scalar_t(-0.48860251190291987) * x,
        scalar_t(1.0925484305920792) * x * y,
        scalar_t(-1.0925484305920792) * y * z,
        scalar_t(0.94617469575755997) * zz - scalar_t(0.31539156525251999),
        scalar_t(-1.0925484305920792) * x * z,
        scalar_t(0.54627421529603959) * (xx - yy),
        scalar_t(0.59004358992664352) * y * (-3 * xx + yy),
        scalar_t(2.8906114426405538) * x * y * z,
        scalar_t(0.45704579946446572) * y * (1 - 5 * zz),
        scalar_t(0.3731763325901154) * z * (5 * zz - 3),
        scalar_t(0.45704579946446572) * x * (1 - 5 * zz),
        scalar_t(1.4453057213202769) * z * (xx - yy),
        scalar_t(0.59004358992664352) * x * (-xx + 3 * yy)};
    for (int64_t k = 0; k < num_values; ++k) encoded[i * num_values + k] = values[k];
  }
};

template <typename scalar_t>
struct SphericalHarmonicsBackward {
  const scalar_t* grad;
  const scalar_t* directions;
  int64_t num_values;
  scalar_t* grad_directions;

  EAGLERAY_HD void operator()(int64_t i) const {
    const scalar_t x = directions[3 * i], y = directions[3 * i + 1], z = directions[3 * i + 2];
    const scalar_t xx = x * x, yy = y * y, zz = z * z;
    const scalar_t c1 = 0.48860251190291987, c4 = 1.0925484305920792, c6 = 0.94617469575755997;
    const scalar_t c8 = 0.54627421529603959, c9 = 0.59004358992664352, c10 = 2.8906114426405538;
    const scalar_t c11 = 0.45704579946446572, c12 = 0.3731763325901154, c14 = 1.4453057213202769;
    const scalar_t slopes[16][3] = {{0, 0, 0},
                                    {0, -c1, 0},
                                    {0, 0, c1},
                                    {-c1, 0, 0},
                                    {c4 * y, c4 * x, 0},
                                    {0, -c4 * z, -c4 * y},
                                    {0, 0, 2 * c6 * z},
                                    {-c4 * z, 0, -c4 * x},
                                    {2 * c8 * x, -2 * c8 * y, 0},
                                    {-6 * c9 * x * y, 3 * c9 * (yy - xx), 0},
                                    {c10 * y * z, c10 * x * z, c10 * x * y},
                                    {0, c11 * (1 - 5 * zz), -10 * c11 * y * z},
                                    {0, 0, c12 * (15 * zz - 3)},
                                    {c11 * (1 - 5 * zz), 0, -10 * c11 * x * z},
                                    {2 * c14 * x * z, -2 * c14 * y * z, c14 * (xx - yy)},
                                    {3 * c9 * (yy - xx), 6 * c9 * x * y, 0}};
    for (int axis = 0; axis < 3; ++axis) {
      scalar_t sum = 0;
      for (int64_t k = 0; k < num_values; ++k) sum += grad[i * num_values + k] * slopes[k][axis];
      grad_directions[3 * i + axis] = sum;
    }
  }
};

inline int64_t check_harmonics(const at::Tensor& directions, int64_t degree) {
  TORCH_CHECK(directions.dim() == 2 && directions.size(1) == 3, "directions must have shape (N, 3)");
  TORCH_CHECK(degree >= 1 && degree <= 4, "degree must be 1, 2, 3 or 4, not ", degree);
  return degree * degree;
}

template <class Launch, typename scalar_t>
at::Tensor spherical_harmonics(const at::Tensor& directions_in, int64_t degree) {
  const int64_t num_values = check_harmonics(directions_in, degree);
  const Launch launch(directions_in);
  const at::Tensor directions = directions_in.contiguous();
  at::Tensor encoded = at::empty({directions.size(0), num_values}, directions.options());
  launch.for_each(directions.size(0), 30,
                  SphericalHarmonics<scalar_t>{directions.const_data_ptr<scalar_t>(), num_values,
                                               encoded.data_ptr<scalar_t>()});
  return encoded;
}

template <class Launch, typename scalar_t>
at::Tensor spherical_harmonics_backward(const at::Tensor& grad_in, const at::Tensor& directions_in,
                                        int64_t degree) {
  const int64_t num_values = check_harmonics(directions_in, degree);
  TORCH_CHECK(grad_in.size(0) == directions_in.size(0) && grad_in.size(1) == num_values,
              "grad must have shape (N, degree^2)");
  const Launch launch(directions_in);
  const at::Tensor directions = directions_in.contiguous(), grad = grad_in.contiguous();
  at::Tensor grad_directions = at::empty({directions.size(0), 3}, directions.options());
  launch.for_each(directions.size(0), 60,
                  SphericalHarmonicsBackward<scalar_t>{
                      grad.const_data_ptr<scalar_t>(), directions.const_data_ptr<scalar_t>(),
                      num_values, grad_directions.data_ptr<scalar_t>()});
  return grad_directions;
}

}  // namespace eagleray
