// CUDA kernels of in-place compositing.
#include <torch/library.h>

#include "launch_cuda.h"
#include "composite_test.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("composite_test", &composite_test<CudaLaunch>);
}
