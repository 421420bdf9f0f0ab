// All CPU kernels as one translation unit: the headers of PyTorch, not ours, cost the time to
// compile.
#include "composite.cpp"
#include "composite_test.cpp"
#include "dcnv3.cpp"
#include "deformable_attention.cpp"
#include "distortion.cpp"
#include "hashgrid.cpp"
#include "march.cpp"
#include "morton.cpp"
#include "packbits.cpp"
#include "product_codes.cpp"
#include "ray_box.cpp"
#include "spherical_harmonics.cpp"
