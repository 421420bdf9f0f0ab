// Values that are computed with at once: a vector register on a CPU, single numbers on CUDA, where
// the threads are the lanes. Written out because whether a compiler turns loops over such short
// arrays into vector instructions changes with everything around them.
//
// Registers have 16 bytes, what every x86-64 and arm64 processor has: libraries are built once for
// all of them.
#pragma once

#include <cstring>
#include <type_traits>

#include "portable.h"

#ifdef __CUDACC__
#define EAGLERAY_UNROLL_ALL _Pragma("unroll")
#else
#define EAGLERAY_UNROLL_ALL _Pragma("GCC unroll 64")
#endif

namespace eagleray {

template <typename T, int kWidth>
struct LanesOf {
#ifndef __CUDACC__
  typedef T type __attribute__((vector_size(kWidth * sizeof(T))));
#endif
};

template <typename T>
struct LanesOf<T, 1> {
  using type = T;
};

// kWidth numbers of type T.
template <typename T, int kWidth>
using Lanes = typename LanesOf<T, kWidth>::type;

// Integer of the width of a floating type, which a comparison of its lanes gives.
template <typename scalar_t>
using IntegerLike = std::conditional_t<sizeof(scalar_t) == 4, int32_t, int64_t>;

#ifdef __CUDACC__
template <typename scalar_t>
constexpr int kRegisterWidth = 1;
#else
template <typename scalar_t>
constexpr int kRegisterWidth = 16 / sizeof(scalar_t);
#endif

// Arithmetic on kWidth lanes that reads the same for one number. Masks are -1 where true, else 0.
template <typename scalar_t, int kWidth>
struct LaneMath {
  using integer_t = IntegerLike<scalar_t>;
  using Floats = Lanes<scalar_t, kWidth>;
  using Integers = Lanes<integer_t, kWidth>;

  template <class Condition>
  EAGLERAY_HD static Integers mask(const Condition& condition) {
    if constexpr (kWidth == 1) {
      return -static_cast<integer_t>(condition);
    } else {
      return condition;
    }
  }

  EAGLERAY_HD static Floats only(const Integers& mask, const Floats& values) {
    if constexpr (kWidth == 1) {
      return mask ? values : 0;
    } else {
      return mask ? values : Floats{};
    }
  }

  // Cuts off the decimals.
  EAGLERAY_HD static Integers truncate(const Floats& values) {
    if constexpr (kWidth == 1) {
      return static_cast<integer_t>(values);
    } else {
#ifndef __CUDACC__
      return __builtin_convertvector(values, Integers);
#endif
    }
  }

  EAGLERAY_HD static Floats to_floats(const Integers& values) {
    if constexpr (kWidth == 1) {
      return static_cast<scalar_t>(values);
    } else {
#ifndef __CUDACC__
      return __builtin_convertvector(values, Floats);
#endif
    }
  }

  // Lane i is of(i).
  template <class F>
  EAGLERAY_HD static Floats each(const F& of) {
    if constexpr (kWidth == 1) {
      return of(0);
    } else if constexpr (kWidth == 2) {
      return Floats{of(0), of(1)};
    } else {
      static_assert(kWidth == 4);
      return Floats{of(0), of(1), of(2), of(3)};
    }
  }

  template <typename T>
  EAGLERAY_HD static void store(const Lanes<T, kWidth>& values, T* target) {
    memcpy(target, &values, sizeof(values));
  }

  EAGLERAY_HD static Floats load(const scalar_t* source) {
    Floats values;
    memcpy(&values, source, sizeof(values));
    return values;
  }
};

// kCount numbers, as many registers as that takes.
template <typename scalar_t, int kCount>
struct Row {
  static constexpr int kWidth =
      kCount % kRegisterWidth<scalar_t> == 0 ? kRegisterWidth<scalar_t> : 1;
  static constexpr int kParts = kCount / kWidth;
  using Math = LaneMath<scalar_t, kWidth>;

  typename Math::Floats part[kParts];

  EAGLERAY_HD static Row zeros() {
    Row row;
    EAGLERAY_UNROLL_ALL
    for (int i = 0; i < kParts; ++i) row.part[i] = typename Math::Floats{};
    return row;
  }

  template <typename value_t>
  EAGLERAY_HD static Row load(const value_t* source) {
    Row row;
    EAGLERAY_UNROLL_ALL
    for (int i = 0; i < kParts; ++i) {
      if constexpr (std::is_same_v<value_t, scalar_t>) {
        row.part[i] = Math::load(source + i * kWidth);
      } else {
        row.part[i] = Math::each(
            [&](int lane) { return static_cast<scalar_t>(source[i * kWidth + lane]); });
      }
    }
    return row;
  }

  template <typename value_t>
  EAGLERAY_HD void store(value_t* target) const {
    EAGLERAY_UNROLL_ALL
    for (int i = 0; i < kParts; ++i) {
      if constexpr (std::is_same_v<value_t, scalar_t>) {
        Math::store(part[i], target + i * kWidth);
      } else {
        static_assert(kWidth == 1, "a CPU casts whole tensors");
        target[i] = static_cast<value_t>(part[i]);
      }
    }
  }

  EAGLERAY_HD void add(const Row& other) {
    EAGLERAY_UNROLL_ALL
    for (int i = 0; i < kParts; ++i) part[i] += other.part[i];
  }

  EAGLERAY_HD void add_scaled(scalar_t factor, const Row& other) {
    EAGLERAY_UNROLL_ALL
    for (int i = 0; i < kParts; ++i) part[i] += factor * other.part[i];
  }

  // Adds factor times the row to memory, as add_to does.
  EAGLERAY_HD void add_scaled_to(scalar_t factor, scalar_t* target) const {
    EAGLERAY_UNROLL_ALL
    for (int i = 0; i < kParts; ++i) {
      if constexpr (kWidth == 1) {
        add_to(target + i, factor * part[i]);
      } else {
        Math::store(Math::load(target + i * kWidth) + factor * part[i], target + i * kWidth);
      }
    }
  }

  EAGLERAY_HD scalar_t dot(const Row& other) const {
    typename Math::Floats products = part[0] * other.part[0];
    EAGLERAY_UNROLL_ALL
    for (int i = 1; i < kParts; ++i) products += part[i] * other.part[i];
    if constexpr (kWidth == 1) {
      return products;
    } else if constexpr (kWidth == 2) {
      return products[0] + products[1];
    } else {
      return (products[0] + products[2]) + (products[1] + products[3]);
    }
  }
};

}  // namespace eagleray
