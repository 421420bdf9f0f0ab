// What every operator's arithmetic shares: one spelling for functions that run on the host and on a
// CUDA device, and scalar helpers whose results do not depend on the compiler.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define EAGLERAY_HD __host__ __device__ __forceinline__
#define EAGLERAY_UNROLL _Pragma("unroll")
#else
#define EAGLERAY_UNROLL _Pragma("GCC unroll 8")
#define EAGLERAY_HD inline __attribute__((always_inline))
#endif

namespace eagleray {

// Minimum and maximum that return the other operand when one is not a number (C fmin, fmax).
template <typename scalar_t>
EAGLERAY_HD scalar_t nan_min(scalar_t a, scalar_t b) {
  return (a < b || b != b) ? a : b;
}

template <typename scalar_t>
EAGLERAY_HD scalar_t nan_max(scalar_t a, scalar_t b) {
  return (a > b || b != b) ? a : b;
}

// The lower bound wins where the bounds cross.
template <typename scalar_t>
EAGLERAY_HD scalar_t clamp_to(scalar_t value, scalar_t low, scalar_t high) {
  return nan_max(low, nan_min(value, high));
}

// Exponent e of value = m * 2^e with m in [0.5, 1); 0 for 0. Subnormal numbers give -126, which is
// below every level that the callers distinguish.
EAGLERAY_HD int frexp_exponent(float value) {
  if (value == 0.0f) return 0;
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return static_cast<int>((bits >> 23) & 0xffu) - 126;
}

// Adds to memory that other CUDA threads may add to; on the host the caller owns the memory.
template <typename scalar_t>
EAGLERAY_HD void add_to(scalar_t* target, scalar_t value) {
#ifdef __CUDA_ARCH__
  atomicAdd(target, value);
#else
  *target += value;
#endif
}

// One row of rays_a: which ray, and where its samples lie in the flat arrays. A row that points
// outside the arrays counts as empty, so that a wrong index can never touch foreign memory.
struct Segment {
  int64_t ray, start, count;
};

EAGLERAY_HD Segment read_segment(const int64_t* rays_a, int64_t row, int64_t num_rays,
                                 int64_t num_samples) {
  Segment segment{rays_a[3 * row], rays_a[3 * row + 1], rays_a[3 * row + 2]};
  const bool inside = segment.ray >= 0 && segment.ray < num_rays && segment.start >= 0 &&
                      segment.count >= 0 && segment.start <= num_samples - segment.count;
  if (!inside) segment = {-1, 0, 0};
  return segment;
}

}  // namespace eagleray
