import pytest
import torch

import eagleray_kernels as kernels


def hits_by_substitution(origin, direction, center, half, steps=20001):
    """Where a ray is inside a box, by trying many distances."""
    t = torch.linspace(0, 10, steps, dtype=torch.float64)
    points = origin.double() + t[:, None] * direction.double()
    inside = ((points - center).abs() <= half).all(1)
    return (float(t[inside][0]), float(t[inside][-1])) if inside.any() else None


def test_hits_are_where_the_ray_is_inside(implementation):
    generator = torch.Generator().manual_seed(3)
    rays_o = torch.randn(60, 3, generator=generator) * 1.5
    rays_d = -rays_o + torch.randn(60, 3, generator=generator) * 0.7
    center, half = torch.tensor([[0.2, -0.1, 0.3]]), torch.tensor([[0.5, 0.8, 0.4]])
    found = kernels.intersect_boxes(rays_o, rays_d, center, half)
    num_hits = 0
    for ray in range(60):
        wanted = hits_by_substitution(rays_o[ray], rays_d[ray], center[0], half[0])
        if wanted is None:  # or a corner thinner than the substitution's steps
            thickness = found.hits_t[ray, 0, 1] - found.hits_t[ray, 0, 0]
            assert found.num_hits[ray] == 0 or thickness < 1e-3
        else:
            num_hits += 1
            assert found.num_hits[ray] == 1
            assert found.hits_t[ray, 0].tolist() == pytest.approx(wanted, abs=1e-3)
    assert 20 < num_hits < 60


def test_origin_inside_starts_at_zero(implementation):
    found = kernels.intersect_boxes(
        torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 2.0]]), torch.zeros(1, 3), torch.ones(1, 3)
    )
    assert found.hits_t.tolist() == [[[0.0, 0.5]]]


def test_box_behind_the_origin_is_no_hit(implementation):
    found = kernels.intersect_boxes(
        torch.tensor([[0.0, 0.0, 5.0]]),
        torch.tensor([[0.0, 0.0, 1.0]]),
        torch.zeros(1, 3),
        torch.ones(1, 3),
    )
    assert found.num_hits.tolist() == [0]
    assert found.hits_t.tolist() == [[[-1.0, -1.0]]]
    assert found.volume_idx.tolist() == [[-1]]


def test_ray_in_the_plane_of_a_side_misses(implementation):
    # 0 * inf along x is not a number; fmin and fmax then return the infinite operand.
    found = kernels.intersect_boxes(
        torch.tensor([[1.0, 0.0, -3.0]]),
        torch.tensor([[0.0, 0.0, 1.0]]),
        torch.zeros(1, 3),
        torch.ones(1, 3),
    )
    assert found.num_hits.tolist() == [0]
    assert found.hits_t.tolist() == [[[-1.0, -1.0]]]


def test_more_hits_than_slots_keeps_the_first_volumes_sorted_by_distance(implementation):
    rays_o, rays_d = torch.tensor([[0.0, 0.0, -10.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    centers = torch.tensor([[0.0, 0.0, 4.0], [0.0, 0.0, -4.0], [9.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    found = kernels.intersect_boxes(rays_o, rays_d, centers, torch.full((4, 3), 0.5), 2)
    assert found.num_hits.tolist() == [3]
    assert found.volume_idx.tolist() == [[1, 0]]
    assert found.hits_t.tolist() == [[[5.5, 6.5], [13.5, 14.5]]]


def test_unused_slots_come_first_and_ties_keep_their_order(implementation):
    rays_o, rays_d = torch.tensor([[0.0, 0.0, -10.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    centers = torch.zeros(2, 3)
    found = kernels.intersect_boxes(rays_o, rays_d, centers, torch.full((2, 3), 0.5), 4)
    assert found.volume_idx.tolist() == [[-1, -1, 0, 1]]


def test_spheres_match_their_equation(implementation):
    generator = torch.Generator().manual_seed(4)
    rays_o = torch.randn(80, 3, generator=generator) * 2
    rays_d = -rays_o + torch.randn(80, 3, generator=generator)
    centers, radii = torch.randn(3, 3, generator=generator) * 0.5, torch.tensor([0.3, 0.9, 0.6])
    found = kernels.intersect_spheres(rays_o, rays_d, centers, radii, 3)
    ray, slot = (found.volume_idx >= 0).nonzero(as_tuple=True)
    assert len(ray) > 40
    volume = found.volume_idx[ray, slot]
    for side in range(2):
        t = found.hits_t[ray, slot, side]
        on_surface = t > 0
        distance = (rays_o[ray] + t[:, None] * rays_d[ray] - centers[volume]).norm(dim=1)
        torch.testing.assert_close(
            distance[on_surface], radii[volume][on_surface], rtol=1e-4, atol=1e-4
        )


def test_arguments_that_do_not_fit_are_refused():
    rays = torch.zeros(4, 3), torch.ones(4, 3)
    with pytest.raises(kernels.KernelInputError, match="extents must have 2 rows, found 3"):
        kernels.intersect_boxes(*rays, torch.zeros(2, 3), torch.ones(3, 3))
    with pytest.raises(kernels.KernelInputError, match="max_hits must be 1 or more"):
        kernels.intersect_boxes(*rays, torch.zeros(2, 3), torch.ones(2, 3), 0)
    with pytest.raises(kernels.KernelInputError, match=r"radii must have shape \(V\)"):
        kernels.intersect_spheres(*rays, torch.zeros(2, 3), torch.ones(2, 3))
