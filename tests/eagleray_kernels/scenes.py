"""Occupancy grids, rays and packed samples for the tests of the operators."""

import torch

import eagleray_kernels as kernels


def occupancy_bits(settings, seed, share=0.1, kind="blobs"):
    """Bits of all cascades, in blobs (whole blocks are empty) or cell by cell at random."""
    generator = torch.Generator().manual_seed(seed)
    size = settings.grid_size
    axis = torch.arange(size)
    coords = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    codes = kernels.encode_morton(coords).long()
    grid = torch.zeros(settings.cascades, size**3)
    for cascade in range(settings.cascades):
        if kind == "random":
            values = torch.rand(size**3, generator=generator) < share
        else:
            centers = torch.rand(6, 3, generator=generator) * size
            radii = (torch.rand(6, generator=generator) * 0.8 + 0.4) * size * share + 0.9
            distances = torch.cdist(coords.float() + 0.5, centers)
            values = (distances < radii).any(1)
        grid[cascade, codes] = values.float()
    return kernels.pack_bits(grid, 0.5)


def rays_through_cube(settings, num_rays, seed):
    """Rays from in and around the cube, some parallel to axes or faces, with their hits."""
    generator = torch.Generator().manual_seed(seed)
    scale = settings.scale
    origins = (torch.rand(num_rays, 3, generator=generator) * 2 - 1) * scale * 1.6
    targets = (torch.rand(num_rays, 3, generator=generator) * 2 - 1) * scale * 0.9
    directions = targets - origins
    directions[0::16, 0] = 0.0  # parallel to the faces of cells
    directions[1::16, :2] = 0.0
    directions[2::16, 1] = -0.0
    origins[3::16] = (origins[3::16] * 8 / scale).round() * scale / 8  # start on faces
    directions[4::16, 2] *= 1e-6  # slide along faces
    lengths = torch.rand(num_rays, 1, generator=generator) * 0.7 + 0.7
    directions = directions / directions.norm(dim=1, keepdim=True) * lengths
    cube = torch.zeros(1, 3), torch.full((1, 3), scale)
    hits_t = kernels.intersect_boxes(origins, directions, *cube).hits_t[:, 0]
    near = hits_t[:, 0]
    hits_t[:, 0] = torch.where((near >= 0) & (near < 0.01), 0.01, near)
    return origins, directions, hits_t, torch.rand(num_rays, generator=generator)


def packed_samples(num_rays, seed, dtype=torch.float32, channels=(3, 4), shuffle=True):
    """Random samples on rays with 0 to 9 samples each; rows of packed_info in random order."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 10, (num_rays,), generator=generator)
    counts[0] = 0
    order = torch.randperm(num_rays, generator=generator) if shuffle else torch.arange(num_rays)
    packed_info = torch.stack([order, counts.cumsum(0) - counts, counts], 1)
    num_samples = int(counts.sum())

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype)

    step_sizes = uniform(num_samples) * 0.2 + 0.01
    return {
        "sigmas": uniform(num_samples) * 6.0,
        "rgbs": uniform(num_samples, channels[0]),
        "feats": uniform(num_samples, channels[1]) * 2.0 - 1.0,
        "step_sizes": step_sizes,
        "t_starts": step_sizes.cumsum(0),
        "packed_info": packed_info,
    }
