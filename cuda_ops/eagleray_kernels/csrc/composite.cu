// CUDA kernels of compositing.
#include <torch/library.h>

#include "by_type.h"
#include "composite.h"
#include "launch_cuda.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("composite_train", &ByType<&composite_train<CudaLaunch, float>, &composite_train<CudaLaunch, double>>::call);
  m.impl("composite_train_backward", &ByType<&composite_train_backward<CudaLaunch, float>, &composite_train_backward<CudaLaunch, double>>::call);
}
