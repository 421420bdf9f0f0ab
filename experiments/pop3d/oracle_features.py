"""Features that are right by construction, for labeled points: a stand-in for MaskCLIP+.

    python experiments/pop3d/oracle_features.py experiments/pop3d/toyworld.yaml
    python experiments/pop3d/oracle_features.py ... --shuffled     # a control: of other classes

The feature of a point is the text vector of its class' first word, as the experiment's
``settings.text`` says. The files are written to the folder that ``settings.features.folder`` names,
in the original's layout; ``--shuffled`` writes beside it (``<folder>_shuffled``), with every class
taken for another one. Results with them bound what training can learn; they are no open vocabulary.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eagleray.api import Experiment
from eagleray_pop3d.settings import Pop3dSettings
from eagleray_pop3d.words import class_vectors
from eagleray_vision.driving.lidar import read_lidarseg, read_sweep
from eagleray_vision.driving.lidarseg import NUM_CLASSES, evaluated_classes
from eagleray_vision.driving.nuscenes_tables import read_table_frames
from eagleray_vision.driving.original_files import feature_file
from eagleray_vision.driving.projection import project_frame


def feature_table(settings: Pop3dSettings, *, shuffled: bool) -> NDArray[np.float32]:
    """Return ``(17, D)`` features by class; that of a point without a class, and of a class without
    a word, is 0 and so like none of the words.
    """
    channels = settings.network.heads.feature_channels
    words = class_vectors(settings.text, channels)
    table = np.zeros((1 + NUM_CLASSES, channels), np.float32)
    for number, vector in reversed(list(zip(words.classes, words.vectors.numpy(), strict=True))):
        table[number] = vector
    if shuffled:
        named = sorted({number for number in words.classes if number})
        # Turned by a third of the list: no class keeps its own word.
        table[named] = table[np.roll(named, len(named) // 3)]
    return table


def main() -> None:
    """Write features of all key frames that the experiment trains on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--shuffled", action="store_true", help="vectors of other classes")
    arguments = parser.parse_args()
    settings = Experiment.from_file(arguments.experiment).settings.settings
    if not isinstance(settings, Pop3dSettings) or settings.data.format != "nuscenes":
        parser.error(f"{arguments.experiment} is no experiment of pop3d over nuScenes' tables")
    data, folder = settings.data, Path(settings.features.folder)
    if arguments.shuffled:
        folder = folder.with_name(f"{folder.name}_shuffled")
    table, count = feature_table(settings, shuffled=arguments.shuffled), 0
    for frame in read_table_frames(data.folder, data.version, split=data.train.split):
        points = read_sweep(data.folder / frame.lidar.path, frame.token)
        raw = read_lidarseg(data.folder / frame.lidarseg_path, len(points), frame.token)
        classes = evaluated_classes(raw)
        sizes = {camera.name: camera.size_hw for camera in frame.cameras}
        matches = project_frame(frame, points, sizes)
        for camera in frame.cameras:
            features = table[classes[matches[camera.name].points]]
            for file, content in feature_file(camera, features).items():
                path = folder / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        count += 1
    print(f"{count} key frames, {table.shape[1]} channels: {folder}")


if __name__ == "__main__":
    main()
