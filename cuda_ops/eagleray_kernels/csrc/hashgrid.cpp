// CPU kernels of the hash grid.
#include <torch/library.h>

#include "by_type.h"
#include "hashgrid.h"
#include "launch_cpu.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("hash_grid_encode", &ByType<&hash_grid_encode<CpuLaunch, float>, &hash_grid_encode<CpuLaunch, double>>::call);
  m.impl("hash_grid_table_gradient", &ByType<&hash_grid_table_gradient<CpuLaunch, float>, &hash_grid_table_gradient<CpuLaunch, double>>::call);
  m.impl("hash_grid_position_gradient", &ByType<&hash_grid_position_gradient<CpuLaunch, float>, &hash_grid_position_gradient<CpuLaunch, double>>::call);
}
