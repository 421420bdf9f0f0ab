// Runs an operator's arithmetic over CUDA threads, one call per thread, on the current stream.
// Includes only the core CUDA headers: ATen/cuda/CUDAContext.h would need those of cuBLAS and
// cuSPARSE, which slim toolkits lack.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

namespace eagleray {

template <class F>
__global__ void run_for_each(int64_t count, F f) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    f(i);
  }
}

template <class F>
__global__ void run_for_each_pair(int64_t columns, int64_t count, F f) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    f(i / columns, i % columns);
  }
}

// Lanes are neighboring threads: they read and write neighboring memory.
template <class F>
__global__ void run_for_each_cell(int64_t queries, int64_t lanes, int64_t count, F f) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    const int64_t row = i / lanes;
    f(row / queries, row % queries, i % lanes);
  }
}

struct CudaLaunch {
  c10::cuda::CUDAGuard guard;

  explicit CudaLaunch(const at::Tensor& tensor) : guard(tensor.device()) {}

  template <class F>
  void for_each(int64_t count, int64_t /*cost*/, const F& f) const {
    if (count == 0) return;
    run_for_each<<<blocks(count), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(count, f);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  template <class F>
  void for_each_pair(int64_t rows, int64_t columns, const F& f) const {
    const int64_t count = rows * columns;
    if (count == 0) return;
    run_for_each_pair<<<blocks(count), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
        columns, count, f);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  // Rows are shared between threads: the arithmetic adds atomically on a device.
  template <class F>
  void for_each_owned_row(int64_t rows, int64_t columns, const F& f) const {
    for_each_pair(rows, columns, f);
  }

  template <class F>
  void for_each_cell(int64_t images, int64_t owners, int64_t queries, int64_t lanes,
                     int64_t /*cost*/, const F& f) const {
    const int64_t count = images * queries * owners * lanes;
    if (count == 0) return;
    run_for_each_cell<<<blocks(count), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
        queries, owners * lanes, count, f);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  // Memory is shared between threads: the arithmetic adds atomically on a device.
  template <class F>
  void for_each_owned_cell(int64_t images, int64_t owners, int64_t queries, int64_t lanes,
                           const F& f) const {
    for_each_cell(images, owners, queries, lanes, 0, f);
  }

  // Looking would stall the device, and zeros cost it little.
  bool covers_all(const at::Tensor& /*rays_a*/, int64_t /*num_samples*/) const { return false; }

 private:
  static constexpr int kThreads = 256;
  static constexpr int64_t kMaxBlocks = 1 << 20;

  static unsigned blocks(int64_t count) {
    const int64_t needed = (count + kThreads - 1) / kThreads;
    return static_cast<unsigned>(needed < kMaxBlocks ? needed : kMaxBlocks);
  }
};

}  // namespace eagleray
