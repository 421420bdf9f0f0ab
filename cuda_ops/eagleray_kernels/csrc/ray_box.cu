// CUDA kernels of intersections with boxes and spheres.
#include <torch/library.h>

#include "launch_cuda.h"
#include "ray_box.h"

TORCH_LIBRARY_IMPL(eagleray, CUDA, m) {
  using namespace eagleray;
  m.impl("intersect_boxes", &intersect<CudaLaunch, IntersectBoxes>);
  m.impl("intersect_spheres", &intersect<CudaLaunch, IntersectSpheres>);
}
