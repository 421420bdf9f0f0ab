// CPU kernels of deformable attention.
#include <torch/library.h>

#include "by_type.h"
#include "deformable_attention.h"
#include "launch_cpu.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("deformable_attention", &ByType<&deformable_attention<CpuLaunch, float>, &deformable_attention<CpuLaunch, double>>::call);
  m.impl("deformable_attention_backward", &ByType<&deformable_attention_backward<CpuLaunch, float>, &deformable_attention_backward<CpuLaunch, double>>::call);
}
