// CUDA kernels of bit packing.
#include <torch/library.h>

#include "launch_cuda.h"
#include "packbits.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("pack_bits", &pack_bits<CudaLaunch>);
}
