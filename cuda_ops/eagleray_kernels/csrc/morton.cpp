// CPU kernels of Morton codes.
#include <torch/library.h>

#include "launch_cpu.h"
#include "morton.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("encode_morton", &encode_morton<CpuLaunch>);
  m.impl("decode_morton", &decode_morton<CpuLaunch>);
}
