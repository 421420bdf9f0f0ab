// CUDA kernels of deformable convolution.
#include <torch/library.h>

#include "dcnv3.h"
#include "launch_cuda.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("dcn_v3", &dcn_v3<CudaLaunch>);
  m.impl("dcn_v3_backward", &dcn_v3_backward<CudaLaunch>);
}
