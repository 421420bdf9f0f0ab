// Picks the single or the double precision instance of a kernel by the type of its first argument.
#pragma once

#include <ATen/core/Tensor.h>

namespace eagleray {

template <auto on_float, auto on_double>
struct ByType;

template <class Result, class... Rest, Result (*on_float)(const at::Tensor&, Rest...),
          Result (*on_double)(const at::Tensor&, Rest...)>
struct ByType<on_float, on_double> {
  static Result call(const at::Tensor& first, Rest... rest) {
    if (first.scalar_type() == at::kFloat) return on_float(first, rest...);
    TORCH_CHECK(first.scalar_type() == at::kDouble, "float32 or float64 is needed, found ",
                first.scalar_type());
    return on_double(first, rest...);
  }
};

}  // namespace eagleray
