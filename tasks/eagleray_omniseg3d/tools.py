"""Interactive functions behind the viewer and ``query``: render, click, levels, objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from eagleray.task import Settings, Tool
from eagleray_omniseg3d.click.objects import find_objects
from eagleray_omniseg3d.click.selection import (
    Prompt,
    level_thresholds,
    prompt_at,
    select,
    similarities,
)
from eagleray_omniseg3d.data import SceneData
from eagleray_omniseg3d.model.scene_model import SceneModel
from eagleray_omniseg3d.model.view_rendering import RenderedView, ViewSample, render_view


class ViewArguments(Settings):
    """Which view."""

    view: str = ""
    """Name of a view of the scene; empty: the first one."""
    scale: float = Field(1.0, gt=0, le=1)
    """Size of the rendering over the scene's image size."""


class ClickArguments(ViewArguments):
    """Clicks in one view."""

    clicks: tuple[tuple[int, int], ...] = Field(min_length=1)
    """Columns and rows of what is to be selected, pixels of the rendering."""
    negative_clicks: tuple[tuple[int, int], ...] = ()
    """Columns and rows of what is not."""
    threshold: float = Field(0.5, ge=0, lt=1)
    """Pixels more similar than this are selected."""
    distance_weight: float = Field(0.0, ge=0)
    """Similarity fades with distance, per scene unit."""


class LevelArguments(ClickArguments):
    """Levels of the hierarchy under one click."""

    num_levels: int = Field(3, ge=1, le=8)
    """How many levels."""


class ObjectArguments(ViewArguments):
    """Objects without clicks."""

    min_points: int = Field(50, ge=2)
    """Smallest object, in sampled points."""


@dataclass(frozen=True, slots=True)
class ToolSelection:
    """A rendered view with its selection: (H, W) bool and scores, 1 = identical."""

    view: RenderedView
    mask: npt.NDArray[np.bool_]
    score: npt.NDArray[np.float32]


class SceneTools:
    """The functions of one scene.

    Args:
        data: The scene.
        faithful: See OmniSeg3DSettings.
    """

    def __init__(self, data: SceneData, *, faithful: bool) -> None:
        self._data, self._faithful = data, faithful

    def tools(self) -> list[Tool]:
        """Return all functions; each is called with the model and its arguments."""
        return [
            Tool("render", "Render a view.", ViewArguments, self.render),
            Tool("click", "Select what is clicked at.", ClickArguments, self.click),
            Tool(
                "levels",
                "Thresholds at which a click selects parts and wholes.",
                LevelArguments,
                self.levels,
            ),
            Tool("objects", "Find objects without clicks.", ObjectArguments, self.objects),
        ]

    def render(self, model: SceneModel, arguments: ViewArguments) -> RenderedView:
        """Render a view of the scene."""
        return render_view(model, self._sample(arguments), faithful=self._faithful)

    def click(self, model: SceneModel, arguments: ClickArguments) -> ToolSelection:
        """Select in one view.

        Raises:
            SelectionError: A click lies outside the image or on nothing.
        """
        view = self.render(model, arguments)
        found = select(
            *_flat(view),
            _prompts(view, arguments),
            arguments.threshold,
            distance_weight=arguments.distance_weight,
            normalize=not self._faithful,
        )
        shape = view.opacity.shape
        return ToolSelection(view, found.mask.reshape(shape), found.score.reshape(shape))

    def levels(self, model: SceneModel, arguments: LevelArguments) -> list[float]:
        """Return thresholds from the whole to its parts."""
        view = self.render(model, arguments)
        prompt = _prompts(view, arguments)[0]
        likeness = similarities(
            *_flat(view),
            prompt,
            distance_weight=arguments.distance_weight,
            normalize=not self._faithful,
        )
        return level_thresholds(likeness, arguments.num_levels)

    def objects(
        self, model: SceneModel, arguments: ObjectArguments
    ) -> Mapping[str, npt.NDArray[Any]]:
        """Return ``ids`` (H, W), 0 = none, and the objects' ``prototypes`` (K, D)."""
        view = self.render(model, arguments)
        features, positions = _flat(view)
        solid = view.opacity.ravel() > 0.5
        objects = find_objects(features[solid], positions[solid], min_points=arguments.min_points)
        ids = np.where(solid, objects.assign(features), 0)
        return {"ids": ids.reshape(view.opacity.shape), "prototypes": objects.prototypes}

    def _sample(self, arguments: ViewArguments) -> ViewSample:
        scene = self._data.scene
        index = scene.view_idx(arguments.view) if arguments.view else 0
        return self._data.sample(scene.views[index], scale=arguments.scale, with_rgb=False)


def _flat(view: RenderedView) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    return view.features.reshape(-1, view.features.shape[2]), view.positions.reshape(-1, 3)


def _prompts(view: RenderedView, arguments: ClickArguments) -> list[Prompt]:
    marked = [(*c, True) for c in arguments.clicks]
    marked += [(*c, False) for c in arguments.negative_clicks]
    return [
        prompt_at(column, row, view.features, view.positions, view.opacity, positive=positive)
        for column, row, positive in marked
    ]
