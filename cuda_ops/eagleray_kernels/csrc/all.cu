// All CUDA kernels as one translation unit: the headers of PyTorch, not ours, cost the time to
// compile.
#include "composite.cu"
#include "composite_test.cu"
#include "dcnv3.cu"
#include "deformable_attention.cu"
#include "distortion.cu"
#include "hashgrid.cu"
#include "march.cu"
#include "morton.cu"
#include "packbits.cu"
#include "product_codes.cu"
#include "ray_box.cu"
#include "spherical_harmonics.cu"
