// CPU kernels of bit packing.
#include <torch/library.h>

#include "launch_cpu.h"
#include "packbits.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("pack_bits", &pack_bits<CpuLaunch>);
}
