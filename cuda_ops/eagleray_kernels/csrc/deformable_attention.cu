// CUDA kernels of deformable attention.
#include <torch/library.h>

#include "by_type.h"
#include "deformable_attention.h"
#include "launch_cuda.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("deformable_attention", &ByType<&deformable_attention<CudaLaunch, float>, &deformable_attention<CudaLaunch, double>>::call);
  m.impl("deformable_attention_backward", &ByType<&deformable_attention_backward<CudaLaunch, float>, &deformable_attention_backward<CudaLaunch, double>>::call);
}
