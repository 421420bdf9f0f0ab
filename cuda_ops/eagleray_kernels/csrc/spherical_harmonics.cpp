// CPU kernels of spherical harmonics.
#include <torch/library.h>

#include "by_type.h"
#include "spherical_harmonics.h"
#include "launch_cpu.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("spherical_harmonics", &ByType<&spherical_harmonics<CpuLaunch, float>, &spherical_harmonics<CpuLaunch, double>>::call);
  m.impl("spherical_harmonics_backward", &ByType<&spherical_harmonics_backward<CpuLaunch, float>, &spherical_harmonics_backward<CpuLaunch, double>>::call);
}
