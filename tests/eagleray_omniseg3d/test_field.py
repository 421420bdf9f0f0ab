"""The field, its two backends with one state, and the renderer's shortcuts."""

import dataclasses
import itertools
import sys
import types

import pytest
import torch
from torch import nn

from eagleray_kernels import (
    HashGridLayout,
    HashGridLevels,
    MarchSettings,
    composite_training_rays,
    hash_grid_encode,
)
from eagleray_omniseg3d.model.field import RadianceField, truncated_exp
from eagleray_omniseg3d.model.frozen_rays import FrozenRays
from eagleray_omniseg3d.model.layers import Mlp, flat_size, unflatten
from eagleray_omniseg3d.model.occupancy import OccupancyGrid, num_cascades
from eagleray_omniseg3d.model.rendering import (
    FeatureSamples,
    LookSettings,
    composite_features,
    densities_in_sight,
    drop_hidden,
    find_feature_samples,
    first_rays,
    march_training,
    render_color,
    render_features,
    render_rays,
)

LAYOUT = HashGridLayout(num_levels=4, log2_table_size=9, base_resolution=4, growth=1.6)


class StandInNetwork(nn.Module):
    """Computes what tinycudann.Network does, from its flat parameters: inputs are padded with ones
    to a multiple of 16, outputs to one of 16 too.
    """

    def __init__(self, inputs, outputs, config):
        super().__init__()
        hidden = [config["n_neurons"]] * config["n_hidden_layers"]
        self.padding, self.outputs = -inputs % 16, outputs
        widths = [inputs + self.padding, *hidden, outputs + -outputs % 16]
        self.shapes = [(rows, columns) for columns, rows in itertools.pairwise(widths)]
        self.params = nn.Parameter(torch.zeros(sum(r * c for r, c in self.shapes)))

    def forward(self, x):
        parts = torch.split(self.params, [r * c for r, c in self.shapes])
        *hidden, last = (p.reshape(s) for p, s in zip(parts, self.shapes, strict=True))
        x = torch.cat([x, torch.ones(len(x), self.padding)], dim=1)
        for weight in hidden:
            x = torch.relu(x @ weight.T)
        return (x @ last.T)[:, : self.outputs]


class StandInEncoding(nn.Module):
    """Computes what tinycudann.Encoding does; its outputs are padded to a multiple of 8."""

    def __init__(self, dims, config):
        super().__init__()
        self.layout = HashGridLayout(
            num_levels=config["n_levels"],
            log2_table_size=config["log2_hashmap_size"],
            base_resolution=config["base_resolution"],
            growth=config["per_level_scale"],
        )
        self.params = nn.Parameter(torch.zeros(self.layout.num_entries * 2))

    def forward(self, x):
        levels = self.layout.levels()
        encoded = hash_grid_encode(x, self.params.reshape(-1, 2), HashGridLevels(*levels))
        return torch.nn.functional.pad(encoded, (0, -encoded.shape[1] % 8))


@pytest.mark.parametrize("num_levels", [3, 4, 8, 12])
def test_both_backends_share_one_state_and_its_gradients(num_levels, monkeypatch):
    layout = dataclasses.replace(LAYOUT, num_levels=num_levels)
    module = types.ModuleType("tinycudann")
    module.__spec__ = types.SimpleNamespace(name="tinycudann")
    module.Network, module.Encoding = StandInNetwork, StandInEncoding
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    torch.manual_seed(0)
    ours = RadianceField(layout, scale=0.5, feature_dim=5)
    theirs = RadianceField(layout, scale=0.5, feature_dim=5, backend="tinycudann")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    points = torch.rand(20, 3) - 0.5
    for field in (ours, theirs):
        sigma, geometry = field.density(points)
        total = sigma.sum() + field.color(geometry, points).sum() + field.features(points).sum()
        total.backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad)


def test_flat_weights_round_trip_with_padding():
    net = Mlp((8, 64, 5))
    flat = net.flat()
    assert flat.numel() == flat_size(net.widths) == 16 * 64 + 16 * 64
    cut = unflatten(flat, net.widths)
    for matrix, weight in zip(cut.matrices, net.weights, strict=True):
        assert torch.equal(matrix, weight)
    assert cut.padded_columns.shape == (64, 8) and not cut.padded_columns.any()
    assert cut.padded_rows.shape == (11, 64)


def test_density_is_zero_outside_the_box():
    field = RadianceField(LAYOUT, scale=0.5, feature_dim=2, box_tolerance=0.1)
    field.box.copy_(torch.tensor([[-0.2] * 3, [0.2] * 3]))
    sigma, _ = field.density(torch.tensor([[0.29, 0, 0], [0.31, 0, 0], [0, 0, -0.31]]))
    assert sigma[0] > 0 and sigma[1] == 0 and sigma[2] == 0


def test_exponential_has_a_bounded_gradient():
    x = torch.tensor([-20.0, 0.0, 30.0], requires_grad=True)
    truncated_exp(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.exp(torch.tensor([-15.0, 0.0, 15.0])))


@pytest.mark.parametrize(("scale", "cascades"), [(0.25, 1), (0.5, 1), (0.6, 2), (2, 3), (3, 4)])
def test_cascades_cover_the_cube(scale, cascades):
    grid = OccupancyGrid(scale=scale, grid_size=8)
    assert grid.cascades == num_cascades(scale) == cascades
    assert grid.half_side(cascades - 1) == scale


def test_cells_no_camera_sees_stay_empty():
    grid = OccupancyGrid(scale=0.5, grid_size=16)
    matrix = torch.tensor([[16.0, 0, 8], [0, 16, 8], [0, 0, 1]])
    pose = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -2.0]]])
    box = torch.tensor([[-0.5] * 3, [0.5] * 3])
    narrow = matrix * torch.tensor([[20.0], [20.0], [1.0]])
    narrow[:2, 2] = 8
    grid.mark_invisible(narrow, pose, (16, 16), box, 0.1)
    unseen = grid.density_grid < 0
    assert 0.5 < unseen.float().mean() < 1.0
    for step in range(3):
        grid.update(
            lambda points: torch.full((len(points),), 50.0),
            warmup=step < 2,
            generator=torch.Generator().manual_seed(step),
        )
    assert torch.equal(grid.density_grid < 0, unseen)
    assert grid.occupied_share == pytest.approx(float((~unseen).float().mean()))


def test_empty_grid_renders_the_background_and_trains_without_samples():
    field = RadianceField(LAYOUT, scale=0.5, feature_dim=3)
    march = MarchSettings(scale=0.5, cascades=1, grid_size=8, max_samples=32)
    bits = torch.zeros(8**3 // 8, dtype=torch.uint8)
    rays_o = torch.tensor([[0.0, 0, -2], [5, 5, -2]])
    rays_d = torch.tensor([[0.0, 0, 1], [0, 0, 1]])
    seen = render_rays(field, rays_o, rays_d, bits, LookSettings(march=march, feature_dim=3))
    assert (seen.rgb == 1).all() and (seen.opacity == 0).all() and seen.features.shape == (2, 3)
    num_rays, samples = march_training(rays_o, rays_d, torch.zeros(2), bits, march, 100)
    assert num_rays == 2 and len(samples.t_starts) == 0
    color = render_color(field, num_rays, drop_hidden(field, samples))
    (color.rgb.sum() + color.opacity.sum()).backward()
    assert (color.rgb == 0).all()
    features = render_features(field, num_rays, samples).features
    assert features.shape == (2, 3) and (features == 0).all()


def test_features_leave_the_geometry_alone():
    torch.manual_seed(1)
    field = RadianceField(LAYOUT, scale=0.5, feature_dim=3)
    march = MarchSettings(scale=0.5, cascades=1, grid_size=8, max_samples=32)
    bits = torch.full((8**3 // 8,), 255, dtype=torch.uint8)
    rays_o = torch.tensor([[0.0, 0.1, -2]]).expand(4, 3).contiguous()
    rays_d = torch.tensor([[0.0, 0, 1]]).expand(4, 3).contiguous()
    num_rays, samples = march_training(rays_o, rays_d, torch.rand(4), bits, march, None)
    render_features(field, num_rays, samples).features.sum().backward()
    for name, parameter in field.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert has_gradient == name.startswith("feature_"), name


class Wall:
    """Fog before a wall at z = -0.2; counts the points it is asked about."""

    def __init__(self, wall):
        self.wall, self.asked = wall, 0

    def density(self, points):
        self.asked += len(points)
        fog = 1.0 + torch.sin(40.0 * points).sum(dim=1).abs()
        return torch.where(points[:, 2] > -0.2, self.wall, fog), points

    def features(self, points):
        return torch.cat([torch.cos(9.0 * points), torch.sin(5.0 * points)], dim=1)


def fan_of_rays(num_rays=64, max_samples=256):
    march = MarchSettings(scale=0.5, cascades=1, grid_size=8, max_samples=max_samples)
    bits = torch.full((8**3 // 8,), 255, dtype=torch.uint8)
    rays_o = torch.tensor([[0.05, 0.1, -0.7]]).expand(num_rays, 3).contiguous()
    slopes = torch.linspace(-0.9, 0.9, num_rays)
    rays_d = torch.stack([slopes, slopes.flip(0) / 2, torch.ones(num_rays)], dim=1)
    noise = torch.rand(num_rays, generator=torch.Generator().manual_seed(0))
    return march_training(rays_o, rays_d, noise, bits, march, None)


@pytest.mark.parametrize("wall", [0.0, 3.0, 40.0, 1e3, 1e6])
def test_densities_in_sight_composite_as_all_densities(wall):
    _, samples = fan_of_rays()
    plain = Wall(wall).density(samples.positions)[0]
    field = Wall(wall)
    seen = densities_in_sight(field, samples)
    assert (seen[seen > 0] == plain[seen > 0]).all()
    found, wanted = (
        composite_training_rays(
            s, None, None, samples.step_sizes, samples.t_starts, samples.packed_info
        )
        for s in (seen, plain)
    )
    for name in ("total_samples", "opacity", "depth", "weights"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    assert field.asked <= len(samples.t_starts)
    if wall >= 1e3:
        assert field.asked < 0.8 * len(samples.t_starts)


@pytest.mark.parametrize("least_weight", [0.0, 1e-4, 1e-2])
def test_light_samples_change_features_by_no_more_than_their_weights(least_weight):
    num_rays, samples = fan_of_rays()
    field = Wall(200.0)
    plain = field.density(samples.positions)[0]
    out = composite_training_rays(
        plain,
        None,
        field.features(samples.positions),
        samples.step_sizes,
        samples.t_starts,
        samples.packed_info,
    )
    found = render_features(field, num_rays, samples, least_weight=least_weight)
    light = torch.where(out.weights <= least_weight, out.weights, 0.0)
    row = torch.repeat_interleave(samples.packed_info[:, 0], samples.packed_info[:, 2])
    bound = torch.zeros(num_rays).index_add(0, row, light) * 6**0.5
    assert ((found.features - out.features).norm(dim=1) <= bound + 1e-5).all()
    if least_weight == 1e-2:
        assert bound.max() > 0.01


def test_first_rays_are_those_that_fit():
    num_rays, samples = fan_of_rays(8, 64)
    counts = samples.packed_info[:, 2]
    bound = int(counts[:5].sum()) + 1
    kept, fewer = first_rays(samples, bound)
    assert kept == 5 and torch.equal(fewer.packed_info, samples.packed_info[:5])
    assert len(fewer.t_starts) == len(fewer.positions) == len(fewer.step_sizes) == bound - 1
    assert torch.equal(fewer.directions, samples.directions[: bound - 1])
    assert first_rays(samples, 0)[0] == 0
    assert first_rays(samples, len(samples.t_starts))[0] == num_rays


def test_cells_that_hold_minus_one_are_not_looked_up():
    grid = OccupancyGrid(scale=0.5, grid_size=8)
    grid.density_grid[0, ::3] = -1.0
    asked = []

    def density(points):
        asked.append(len(points))
        return torch.full((len(points),), 9.0)

    grid.update(density, warmup=True, generator=torch.Generator().manual_seed(0))
    assert sum(asked) == int((grid.density_grid >= 0).sum())
    assert (grid.density_grid[0, ::3] == -1).all()
    assert (grid.density_grid[0, 1::3] == 9).all() and (grid.density_grid[0, 2::3] == 9).all()


def test_remembered_rays_give_the_features_of_marched_ones():
    num_rays, samples = fan_of_rays()
    field = Wall(200.0)
    wanted = render_features(field, num_rays, samples, least_weight=1e-3).features
    rays, marched = FrozenRays(1000), []
    pixels = torch.randperm(1000, generator=torch.Generator().manual_seed(2))[:num_rays]

    def look(places, view_idx=3):
        def march(unknown):
            marched.append(len(unknown))
            chosen = places[unknown]
            found = find_feature_samples(field, samples, least_weight=1e-3)
            new = torch.full((num_rays,), -1)
            new[chosen] = torch.arange(len(chosen))
            kept = new[found.ray_indices] >= 0
            return FeatureSamples(
                new[found.ray_indices[kept]], found.positions[kept], found.weights[kept]
            )

        found = rays.samples(view_idx, pixels[places], march)
        return composite_features(field, len(places), found)

    for places in (torch.arange(0, 40), torch.arange(63, 20, -1), torch.tensor([5, 0, 63])):
        torch.testing.assert_close(look(places), wanted[places])
    assert marched == [40, 24]
    torch.testing.assert_close(look(torch.tensor([1, 2]), view_idx=4), wanted[1:3])
    assert marched == [40, 24, 2]


def test_remembered_rays_may_be_empty_and_many():
    rays = FrozenRays(50_000)
    pixels = torch.arange(50_000)

    def march(unknown):
        ray_indices = torch.repeat_interleave(unknown % 3)
        return FeatureSamples(ray_indices, torch.randn(len(ray_indices), 3), ray_indices.float())

    for part in pixels.split(20_000):
        found = rays.samples(0, part, march)
        assert torch.equal(
            torch.bincount(found.ray_indices, minlength=len(part)) > 0, part_has(part)
        )
        assert torch.equal(found.weights, found.ray_indices.float())


def part_has(part):
    return torch.arange(len(part)) % 3 > 0
