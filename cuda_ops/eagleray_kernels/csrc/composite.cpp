// CPU kernels of compositing.
#include <torch/library.h>

#include "by_type.h"
#include "composite.h"
#include "launch_cpu.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("composite_train", &ByType<&composite_train<CpuLaunch, float>, &composite_train<CpuLaunch, double>>::call);
  m.impl("composite_train_backward", &ByType<&composite_train_backward<CpuLaunch, float>, &composite_train_backward<CpuLaunch, double>>::call);
}
