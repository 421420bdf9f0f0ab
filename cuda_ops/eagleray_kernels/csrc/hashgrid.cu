// CUDA kernels of the hash grid.
#include <torch/library.h>

#include "by_type.h"
#include "hashgrid.h"
#include "launch_cuda.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("hash_grid_encode", &ByType<&hash_grid_encode<CudaLaunch, float>, &hash_grid_encode<CudaLaunch, double>>::call);
  m.impl("hash_grid_table_gradient", &ByType<&hash_grid_table_gradient<CudaLaunch, float>, &hash_grid_table_gradient<CudaLaunch, double>>::call);
  m.impl("hash_grid_position_gradient", &ByType<&hash_grid_position_gradient<CudaLaunch, float>, &hash_grid_position_gradient<CudaLaunch, double>>::call);
}
