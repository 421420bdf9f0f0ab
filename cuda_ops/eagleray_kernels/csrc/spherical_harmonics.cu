// CUDA kernels of spherical harmonics.
#include <torch/library.h>

#include "by_type.h"
#include "spherical_harmonics.h"
#include "launch_cuda.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("spherical_harmonics", &ByType<&spherical_harmonics<CudaLaunch, float>, &spherical_harmonics<CudaLaunch, double>>::call);
  m.impl("spherical_harmonics_backward", &ByType<&spherical_harmonics_backward<CudaLaunch, float>, &spherical_harmonics_backward<CudaLaunch, double>>::call);
}
