// CPU kernels of ray marching.
#include <torch/library.h>

#include "launch_cpu.h"
#include "march.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("march_train", &march_train<CpuLaunch>);
  m.impl("march_test", &march_test<CpuLaunch>);
}
