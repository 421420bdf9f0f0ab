// CUDA kernels of the distortion loss.
#include <torch/library.h>

#include "by_type.h"
#include "distortion.h"
#include "launch_cuda.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("distortion", &ByType<&distortion<CudaLaunch, float>, &distortion<CudaLaunch, double>>::call);
  m.impl("distortion_backward", &ByType<&distortion_backward<CudaLaunch, float>, &distortion_backward<CudaLaunch, double>>::call);
}
