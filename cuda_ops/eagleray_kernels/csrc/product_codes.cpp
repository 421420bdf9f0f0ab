// CPU kernels of product-quantisation codes.
#include <torch/library.h>

#include "by_type.h"
#include "launch_cpu.h"
#include "product_codes.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("pq_decode", &pq_decode<CpuLaunch>);
  m.impl("pq_decode_into", &pq_decode_into<CpuLaunch>);
  m.impl("pq_scores", &ByType<&pq_scores<CpuLaunch, float>, &pq_scores<CpuLaunch, double>>::call);
}
