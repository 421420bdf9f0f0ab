// CUDA kernels of product-quantisation codes.
#include <torch/library.h>

#include "by_type.h"
#include "launch_cuda.h"
#include "product_codes.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("pq_decode", &pq_decode<CudaLaunch>);
  m.impl("pq_decode_into", &pq_decode_into<CudaLaunch>);
  m.impl("pq_scores", &ByType<&pq_scores<CudaLaunch, float>, &pq_scores<CudaLaunch, double>>::call);
}
