"""What the network says of a key frame: a class per voxel, features where they are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray.task import InputError
from eagleray_pop3d.asking import best_class
from eagleray_pop3d.data import EvaluationSample, Points
from eagleray_pop3d.model.aggregator import Planes
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.model.network import Pop3dNetwork, normalize_images
from eagleray_pop3d.voxels import FREE_LABEL, voxel_coordinates
from eagleray_pop3d.words import ClassVectors

Labels = npt.NDArray[np.uint8]

_CHUNK = 65_536
"""Places that are decoded at a time: the language decoder is 1024 wide."""
_OCCUPIED = 1


@dataclass(frozen=True)
class FramePrediction:
    """What was said of one key frame.

    Attributes:
        labels: ``(W, H, Z)`` uint8, classes 1..16 and 17 for free, over the enlarged grid where
            planes are enlarged.
        voxel_features: ``(k, D)`` float32 of the voxels that are not free, in order of their index.
        point_features: ``(n, D)`` float32 of all points of the sweep.
        point_labels: ``(n,)`` uint8, the class 1..16 of each point, whether its voxel is free or
            not.
        place_labels: ``(m,)`` uint8, 1..17, of the further places; 17 outside of the box.
        query_scores: ``(n,)`` float32 likeness of each point to the sample's query; ``(m,)`` of
            each match where the extractor's features are scored.
    """

    labels: Labels
    voxel_features: Tensor
    point_features: Tensor
    point_labels: Labels
    place_labels: Labels | None = None
    query_scores: npt.NDArray[np.float32] | None = None


def predict_frame(
    network: Pop3dNetwork,
    sample: EvaluationSample,
    words: ClassVectors,
    query: Tensor | None,
    *,
    cosine: bool,
) -> FramePrediction:
    """Run the network on one key frame.

    Args:
        network: In eval mode.
        sample: The key frame.
        words: Vectors of the classes' words.
        query: ``(D,)`` vector of the sample's query, if it has one.
        cosine: Compare directions with the query, not plain products.
    """
    device = next(network.parameters()).device
    frame, aggregator, grid = sample.frame, network.tpv_aggregator, network.settings.grid
    images = normalize_images(
        torch.from_numpy(frame.images)[None].to(device),
        torch.from_numpy(frame.sizes_hw)[None].to(device),
    )
    planes = network.encode(images, torch.from_numpy(frame.lidar2img)[None].to(device))
    voxels = aggregator.voxels(planes)[0]
    occupied = aggregator.occupancy(voxels).argmax(dim=-1) == _OCCUPIED
    features = _decoded(network, voxels[occupied])
    labels = torch.full(occupied.shape, FREE_LABEL, dtype=torch.uint8, device=device)
    labels[occupied] = best_class(features, words.vectors.to(device), words.classes).byte()
    at_points = _decoded(network, _sampled(network, planes, frame.points, grid))
    point_classes = best_class(at_points, words.vectors.to(device), words.classes)
    scores = None
    if query is not None:
        scores = likeness(at_points, query.to(device), cosine=cosine).cpu().numpy()
    places = None
    if sample.places_m is not None:
        places = _place_labels(network, planes, sample.places_m, words)
    return FramePrediction(
        labels.cpu().numpy(),
        features.cpu(),
        at_points.cpu(),
        point_classes.byte().cpu().numpy(),
        places,
        scores,
    )


def predict_from_targets(
    sample: EvaluationSample, query: Tensor | None, grid: GridSettings, *, cosine: bool
) -> FramePrediction:
    """Return what the extractor's features say of a query, without the network.

    Args:
        sample: A key frame with features of its matches.
        query: ``(D,)`` vector of the sample's query.
        grid: Its voxels, all of which are free.
        cosine: Compare directions with the query, not plain products.
    """
    if sample.match_features is None or query is None:
        raise InputError(f"key frame {sample.frame.token} was read without features or a query")
    features = sample.match_features
    return FramePrediction(
        np.full(grid.size_xyz, FREE_LABEL, dtype=np.uint8),
        features.new_zeros((0, features.shape[1])).cpu(),
        features.cpu(),
        np.zeros(0, dtype=np.uint8),
        query_scores=likeness(features, query.to(features), cosine=cosine).cpu().numpy(),
    )


def likeness(features: Tensor, query: Tensor, *, cosine: bool) -> Tensor:
    """Return the products ``(...)`` of features ``(..., D)`` and a query ``(D,)``."""
    if cosine:
        features = torch.nn.functional.normalize(features, dim=-1)
    return features @ query


def _decoded(network: Pop3dNetwork, features: Tensor) -> Tensor:
    """Return language features ``(k, D)`` in float32, decoded part by part."""
    parts = [
        network.tpv_aggregator.language(part).float() for part in torch.split(features, _CHUNK)
    ]
    if not parts:
        width = network.settings.heads.feature_channels
        return features.new_zeros((0, width), dtype=torch.float32)
    return torch.cat(parts)


def _sampled(network: Pop3dNetwork, planes: Planes, xyz_m: Points, grid: GridSettings) -> Tensor:
    places = torch.from_numpy(voxel_coordinates(xyz_m, grid).astype(np.float32))
    return network.tpv_aggregator.points(planes, places[None].to(planes.hw.device))[0]


def _place_labels(
    network: Pop3dNetwork, planes: Planes, xyz_m: Points, words: ClassVectors
) -> Labels:
    """Return labels ``(m,)`` of places in metres; what lies outside of the box is free."""
    grid = network.settings.grid
    inside = ((xyz_m > grid.range_min_m) & (xyz_m < grid.range_max_m)).all(axis=1)
    labels = np.full(len(xyz_m), FREE_LABEL, dtype=np.uint8)
    rows = np.flatnonzero(inside)
    for begin in range(0, len(rows), _CHUNK):
        part = rows[begin : begin + _CHUNK]
        sampled = _sampled(network, planes, xyz_m[part], grid)
        solid = network.tpv_aggregator.occupancy(sampled).argmax(dim=-1) == _OCCUPIED
        features = _decoded(network, sampled[solid])
        vectors = words.vectors.to(features.device)
        found = best_class(features, vectors, words.classes).byte().cpu().numpy()
        labels[part[solid.cpu().numpy()]] = found
    return labels
