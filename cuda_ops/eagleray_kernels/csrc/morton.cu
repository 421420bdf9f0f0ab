// CUDA kernels of Morton codes.
#include <torch/library.h>

#include "launch_cuda.h"
#include "morton.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("encode_morton", &encode_morton<CudaLaunch>);
  m.impl("decode_morton", &decode_morton<CudaLaunch>);
}
