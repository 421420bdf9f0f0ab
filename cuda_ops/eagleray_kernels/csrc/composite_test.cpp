// CPU kernels of in-place compositing.
#include <torch/library.h>

#include "launch_cpu.h"
#include "composite_test.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("composite_test", &composite_test<CpuLaunch>);
}
