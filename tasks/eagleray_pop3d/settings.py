"""Settings of the POP-3D task; defaults are those of the released configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eagleray.task import OF_USE, Settings
from eagleray_pop3d.data_settings import DataSettings, FeatureSettings
from eagleray_pop3d.losses import LossSettings
from eagleray_pop3d.model.config import NetworkSettings
from eagleray_pop3d.samples import ImageSettings, TargetSettings
from eagleray_pop3d.words import TextSettings


class TruthSettings(Settings):
    """Truth that lies beside the key frames; each benchmark asks for its own."""

    retrieval: Annotated[str, OF_USE] = Field(
        "", description="Folder retrieval_benchmark, or own queries in its form."
    )
    targets: Annotated[bool, OF_USE] = Field(
        False,
        description="Score the extractor's own features at the queries' points, too "
        "(retrieval_<split>_targets); needs features of those key frames.",
    )
    occ3d: Annotated[str, OF_USE] = Field(
        "", description="Folder of Occ3D-nuScenes, with <scene>/<key frame>/labels.npz."
    )


class Pop3dSettings(Settings):
    """All knobs of POP-3D."""

    data: DataSettings = Field(default_factory=DataSettings, description="Key frames.")
    features: FeatureSettings = Field(
        default_factory=FeatureSettings, description="Language features at lidar points."
    )
    network: NetworkSettings = Field(default_factory=NetworkSettings, description="Network.")
    images: ImageSettings = Field(
        default_factory=ImageSettings,
        description="How photographs are read and changed in training.",
    )
    targets: TargetSettings = Field(
        default_factory=TargetSettings, description="What training learns of voxels."
    )
    losses: LossSettings = Field(default_factory=LossSettings, description="Losses.")
    text: TextSettings = Field(default_factory=TextSettings, description="Vectors of words.")
    truth: TruthSettings = Field(
        default_factory=TruthSettings, description="Truth beside the key frames."
    )
    cosine_scores: Annotated[bool, OF_USE] = Field(
        False,
        description="Compare directions of features with queries (LangOcc's protocol); false: the "
        "plain product (paper).",
    )
