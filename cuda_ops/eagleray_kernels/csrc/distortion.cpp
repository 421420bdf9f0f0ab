// CPU kernels of the distortion loss.
#include <torch/library.h>

#include "by_type.h"
#include "distortion.h"
#include "launch_cpu.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("distortion", &ByType<&distortion<CpuLaunch, float>, &distortion<CpuLaunch, double>>::call);
  m.impl("distortion_backward", &ByType<&distortion_backward<CpuLaunch, float>, &distortion_backward<CpuLaunch, double>>::call);
}
