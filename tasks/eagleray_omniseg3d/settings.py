"""Settings of the plugin; defaults are those of the paper's scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from eagleray.task import OF_USE, Settings
from eagleray_toyworld.settings import WorldSettings

Vector = tuple[float, float, float]
Backend = Literal["eagleray", "tinycudann"]
Split = Literal["auto", "every_8th", "nvos"]

TOY_ROOM = "train/room_000000"
"""Where the toy world's first room lies in its folder."""


class DataSettings(Settings):
    """Where the scene is and how it is read."""

    format: Literal[
        "colmap", "replica", "replica_small", "nerf_synthetic", "transforms", "mvsnet"
    ] = "colmap"
    """Kind of scene; LLFF scenes are ``colmap``."""
    root: str = ""
    """Folder of the scene; with ``toyworld`` empty: the room is in ``toyworld.folder``."""
    downsample: float = Field(1.0, gt=0, le=1)
    """Image size in use over the stored size; ``images_<1/downsample>`` is taken if it is there."""
    split: Split = "auto"
    """Held-out views of COLMAP scenes: every 8th, or NVOS' one reference view; auto takes NVOS'
    if the path contains "llff"."""
    box: tuple[Vector, Vector] | None = None
    """Lower and upper corner of the scene in the file's world coordinates; its longest side then
    fills the cube. By default the format's own centering."""
    colmap_depth: bool = False
    """Train COLMAP scenes on the depth maps of their dense reconstruction too
    (``stereo/depth_maps/<image>.geometric.bin``)."""
    hierarchy_folder: str = "sam"
    """Folder of the hierarchies of ``replica_small`` scenes."""
    labels: str = ""
    """Truth of objects by view name, relative to root: ``instance/{name}.png`` (an image of ids,
    0 = none) or ``masks/{name}.json#object_id`` (run lengths with ids); empty: none."""
    part_labels: str = ""
    """Truth of parts in the same way, such as ``masks/{name}.json#part_id``; empty: none."""
    toyworld: WorldSettings | None = None
    """Generate a room of the toy world into its ``folder`` first; data.format must be its
    format."""

    @property
    def folder(self) -> Path:
        """Folder of the scene: ``root``, or the generated room."""
        if self.toyworld is not None and not self.root:
            return Path(self.toyworld.folder).expanduser() / TOY_ROOM
        return Path(self.root).expanduser()

    @model_validator(mode="after")
    def _possible(self) -> DataSettings:
        world = self.toyworld
        if world is not None and (not world.folder or world.format != self.format):
            raise ValueError(
                f"data.toyworld needs a folder (found {world.folder!r}) and the format of the "
                f"scene, {self.format!r} (found {world.format!r})"
            )
        return self


class MaskSettings(Settings):
    """Where the 2-D masks come from, and how they become patches."""

    source: Literal["sam", "files", "over_segmentation", "hierarchy_files"] = "sam"
    """``sam``: Segment Anything; ``files``: COCO run-length JSON per view; ``over_segmentation``:
    a classical stand-in for machines without weights; ``hierarchy_files``: npz files that lie
    beside the scene."""
    checkpoint: str = ""
    """Segment Anything's weights."""
    model: Literal["vit_h", "vit_l", "vit_b"] = "vit_h"
    """Kind of Segment Anything network."""
    preset: Literal["llff", "default"] = "llff"
    """Mask generator of the NeRF version (one crop layer, stability 0.90) or of the Gaussian one
    (no crops, stability 0.95)."""
    max_side_px: int | None = Field(None, ge=64)
    """Larger images are reduced to this before masks are made; 1920 keeps memory in bounds."""
    points_per_batch: int = Field(64, ge=1)
    """Point prompts per pass of the decoder."""
    half_precision: bool = False
    """Run Segment Anything in fp16 on a GPU."""
    files: str = "masks/{name}.json"
    """Mask files by view name, relative to root, of the size of the stored images. For an SA-V
    file say ``video.json#{frame}``: the last number in the view's name counts its annotated
    frames."""
    absorb_overlap: float = Field(0.9, gt=0, le=1)
    """A mask is absorbed by a larger one that holds more than this share of it."""
    pictures: bool = True
    """Write ``masks/`` and ``patches/`` overlays beside the hierarchy."""
    folder: str = ""
    """Write ``sam/``, ``masks/`` and ``patches/`` into this folder too, as the original does beside
    its images (the scene's folder, say); empty: keep them in the storage only."""


class FieldSettings(Settings):
    """The radiance field."""

    scale: float = Field(0.5, gt=0)
    """S: half side of the scene cube (Replica 0.5, LLFF 2, 360-degree scenes 3)."""
    num_levels: int = Field(16, ge=1)
    """Levels of either hash grid."""
    log2_table_size: int = Field(20, ge=3, le=30)
    """log2 of the largest number of entries of a level."""
    base_resolution: int = Field(16, ge=1)
    """Coarsest resolution."""
    finest_resolution: float | None = Field(None, gt=1)
    """Finest resolution; by default 2048 * scale."""
    feature_dim: int = Field(16, ge=1, le=128)
    """D: length of a feature."""
    grid_size: int = Field(128, ge=2)
    """Cells per axis of the occupancy grid."""
    max_samples: int = Field(1024, ge=1)
    """Most samples per ray; also sets the smallest step, sqrt(3) / max_samples."""
    max_step_samples: int = Field(1 << 22, ge=1)
    """Most samples of all rays of a color step that are looked up with gradients; four times as
    many are marched. Bounds the memory. Rays that do not fit are left out of the step."""
    box_tolerance: float = Field(0.1, ge=0)
    """Density is 0 farther outside the scene's box than this, scene units."""
    backend: Backend = "eagleray"
    """What computes grids and networks."""

    @property
    def step_factor(self) -> float:
        """Growth of the marching step with distance: 1/256 for cubes larger than Replica's."""
        return 1.0 / 256.0 if self.scale > 0.5 else 0.0


class ColorSettings(Settings):
    """The first phase: density and color."""

    steps: int = Field(5000, ge=1)
    """Optimizer steps (5 epochs of 1000; 10 for LLFF and 360-degree scenes)."""
    rays: int = Field(8192, ge=1)
    """Rays per step."""
    lr: float = Field(1e-2, gt=0)
    """Learning rate at the beginning; cosine to a 30th."""
    opacity_weight: float = Field(1e-3, ge=0)
    """Weight of the opacity's entropy."""
    distortion_weight: float = Field(1e-3, ge=0)
    """Weight of the distortion loss."""
    depth_weight: float = Field(1.0, ge=0)
    """Weight of the depth loss, where the scene has depth images."""
    background: Literal["random", "white", "black"] = "random"
    """Color behind training rays."""


class SemanticSettings(Settings):
    """The second phase: features over the frozen geometry."""

    steps: int = Field(5000, ge=1)
    """Optimizer steps."""
    rays: int = Field(8192, ge=1)
    """Pixels of one image per step."""
    lr: float = Field(1e-2, gt=0)
    """Learning rate at the beginning; cosine to a 30th."""
    contrast_weight: float = Field(5e-4, ge=0)
    """Weight of the contrastive loss, a sum over pixels: scale it with 8192 / rays."""
    level_weight: float = Field(5.0, ge=1)
    """w: level l weighs w^(-l) (Replica 5; LLFF and 360-degree scenes 2)."""
    min_pixels: int = Field(2, ge=0)
    """Patches need more pixels than this in a step to take part."""
    least_weight: float = Field(0.0, ge=0, lt=1)
    """Samples that weigh no more than this in their ray's color are left out of its feature, for
    speed. With 1e-3 they sum up to about 0.2 % of a ray's weight; 0 takes all, as the paper."""
    march_once: bool = False
    """March every pixel once and remember its samples (16 bytes each), instead of marching it with
    other noise whenever it is drawn. The geometry is frozen; only the noise stays the same."""
    use_hierarchy: bool = True
    """Contrast along the hierarchy; otherwise with own patches only."""
    use_max_rule: bool = True
    """A farther level is never penalized less than a nearer one."""


class ReplicaProtocolSettings(Settings):
    """Numbers of the Replica protocol; defaults are those of the original."""

    num_samples: int = 1024
    """Prompts per sign are thinned with stride 1 + n // num_samples."""
    negative_weight: float = 0.15
    """Weight of the best negative similarity."""
    positive_position_weight: float = 5e5
    """Fading of positive similarities with distance, per square root of the reference's weight."""
    negative_position_weight: float = 5e5
    """The same for negative similarities."""
    positive_quantile: float = 0.95
    """Quantile of the positive similarities."""
    negative_quantile: float = 1.0
    """Quantile of the negative similarities; 1 = the largest."""


class EvaluationSettings(Settings):
    """What is evaluated, and how."""

    image_scale: float = Field(1.0, gt=0, le=1)
    """Size of rendered views over the scene's image size, for clicks."""
    min_object_px: int = Field(20, ge=1)
    """Objects smaller than this in their reference view are not clicked at."""
    replica_scene: str = ""
    """Scene whose fixed list of instances the Replica protocol takes; empty: all that occur."""
    replica: ReplicaProtocolSettings = ReplicaProtocolSettings()
    """Numbers of the Replica protocol."""


class OmniSeg3DSettings(Settings):
    """Everything about one scene."""

    faithful: bool = True
    """Keep the original's defects: id 0 may be a real patch, the smallest level is always dropped,
    intrinsics of camera 1 for all images, distortion ignored, bilinear resizing, counts modulo
    256, clicks compare raw products instead of cosines."""
    phases: tuple[Literal["color", "semantics"], ...] = Field(("color", "semantics"), min_length=1)
    """Phases of this experiment. For ``[semantics]`` name the color run's checkpoint in
    train.init_from: so several semantics share one color phase."""
    data: DataSettings = DataSettings()
    """The scene."""
    masks: MaskSettings = MaskSettings()
    """The masks."""
    field: FieldSettings = FieldSettings()
    """The field."""
    color: ColorSettings = ColorSettings()
    """The color phase."""
    semantics: SemanticSettings = SemanticSettings()
    """The semantic phase."""
    evaluation: Annotated[EvaluationSettings, OF_USE] = EvaluationSettings()
    """The evaluation."""

    @model_validator(mode="after")
    def _possible(self) -> OmniSeg3DSettings:
        if len(set(self.phases)) != len(self.phases):
            raise ValueError(f"settings.phases must name each phase once, found {self.phases}")
        if self.phases == ("semantics", "color"):
            raise ValueError("settings.phases: semantics needs the color phase before it")
        if self.field.max_step_samples < self.field.max_samples:
            raise ValueError(
                f"settings.field.max_step_samples ({self.field.max_step_samples}) must hold one "
                f"ray's max_samples ({self.field.max_samples})"
            )
        if self.field.grid_size & (self.field.grid_size - 1):
            raise ValueError(
                f"settings.field.grid_size must be a power of two, found {self.field.grid_size}"
            )
        return self
