// CPU kernels of deformable convolution.
#include <torch/library.h>

#include "dcnv3.h"
#include "launch_cpu.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("dcn_v3", &dcn_v3<CpuLaunch>);
  m.impl("dcn_v3_backward", &dcn_v3_backward<CpuLaunch>);
}
