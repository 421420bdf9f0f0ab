// CUDA kernels of ray marching.
#include <torch/library.h>

#include "launch_cuda.h"
#include "march.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("march_train", &march_train<CudaLaunch>);
  m.impl("march_test", &march_test<CudaLaunch>);
}
