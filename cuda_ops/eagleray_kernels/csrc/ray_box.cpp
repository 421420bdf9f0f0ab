// CPU kernels of intersections with boxes and spheres.
#include <torch/library.h>

#include "launch_cpu.h"
#include "ray_box.h"

TORCH_LIBRARY_IMPL(eagleray, CPU, m) {
  using namespace eagleray;
  m.impl("intersect_boxes", &intersect<CpuLaunch, IntersectBoxes>);
  m.impl("intersect_spheres", &intersect<CpuLaunch, IntersectSpheres>);
}
