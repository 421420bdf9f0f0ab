// All CUDA kernels as one translation unit: the headers of PyTorch, not ours, cost the time to
// compile.
#include "composite.cu"
#include "composite_test.cu"
#include "distortion.cu"
#include "hashgrid.cu"
#include "march.cu"
#include "morton.cu"
#include "packbits.cu"
#include "ray_box.cu"
#include "spherical_harmonics.cu"
