"""Whatever the original publishes or reads, as an experiment of ours: a configuration, a snapshot
with the configuration inside, or the published archive of weights, configuration and class list.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import ValidationError

from eagleray.task import ImportedCheckpoint, PublishedFiles, SettingsError
from eagleray_seamseg.checkpoint_import import (
    Snapshot,
    convert_snapshot,
    import_snapshot,
    read_snapshot,
)
from eagleray_seamseg.downloads import PUBLISHED_NETWORK
from eagleray_seamseg.intermediate.metadata import METADATA_FILE, parse_metadata
from eagleray_seamseg.model.config import NetworkSettings
from eagleray_seamseg.original_config.experiment import experiment_of, network_values
from eagleray_seamseg.original_config.ini import OriginalConfig, parse_config, read_config_file
from eagleray_seamseg.original_config.keys import Kind
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.weights.archive import OpenArchive, is_archive, open_archive, weight_file
from eagleray_vision.weights.tensors import WeightFileError

CONFIG_SUFFIXES = (".ini", ".cfg", ".conf")
_DATA_FOLDER = "data/seamless"
"""Where the written experiment looks for the converted data set that no file names."""
_DATA_NOTE = (
    "data.root: name the folder of the converted data set, DATA of the original's command line, or "
    "choose another data.format"
)


PUBLISHED_MD5 = PUBLISHED_NETWORK.checksum.removeprefix("md5:")
"""Checksum of the published Vistas model (README of the original)."""
_CONFIGURATION = "configuration"


def import_original(path: Path, folder: Path, fallback: NetworkSettings) -> PublishedFiles:
    """Import a file of the original by its kind.

    Args:
        path: A configuration (``.ini``), a snapshot (``.pth.tar``), the published zip archive or
            the folder that it was unpacked into.
        folder: Where the experiment and its files will lie.
        fallback: Network of a weight file that brings no configuration.

    Returns:
        The weights; an experiment with the configuration's settings; ``metadata.bin`` of the
        archive, from which the experiment has its class list.

    Raises:
        SettingsError: The configuration is none, or says something impossible.
        WeightFileError: The archive or the weights are damaged or unsafe, or do not fit.
    """
    if path.suffix.lower() in CONFIG_SUFFIXES:
        experiment, notes = experiment_of(read_config_file(path), _DATA_FOLDER)
        return PublishedFiles(experiment=experiment, notes=(_DATA_NOTE, *notes))
    if is_archive(path):
        with _opened(path) as archive:
            return _import_archive(archive, path, folder, fallback)
    return _import_weights(read_snapshot(path), None, fallback)


def import_weights(path: Path, settings: NetworkSettings, space: LabelSpace) -> ImportedCheckpoint:
    """Import the weights of a snapshot, or of the published archive, for a given network.

    Args:
        path: The file.
        settings: The network.
        space: Its class list.

    Raises:
        SettingsError: It is a configuration.
        WeightFileError: See `eagleray_seamseg.checkpoint_import.import_snapshot`.
    """
    if path.suffix.lower() in CONFIG_SUFFIXES:
        raise SettingsError(
            f"{path} is a configuration, which describes a network of its own: give the task's "
            "name instead of an experiment (eagleray import seamseg FILE.ini)"
        )
    with weight_file(path) as weights:
        return import_snapshot(
            weights, settings, num_stuff=space.num_stuff, num_thing=space.num_things
        )


def _opened(path: Path) -> AbstractContextManager[OpenArchive]:
    return open_archive(
        path, texts={_CONFIGURATION: (".ini",)}, files={METADATA_FILE: (METADATA_FILE,)}
    )


def origin_of(md5: str) -> str:
    """Return one line about where an archive comes from, by its checksum (empty for a folder)."""
    if not md5:
        return (
            f"an unpacked archive, whose md5 cannot be compared with the published one "
            f"({PUBLISHED_MD5}); make sure of where it comes from"
        )
    if md5 == PUBLISHED_MD5:
        return f"md5 {md5}: the published Vistas model, licensed {PUBLISHED_NETWORK.license}"
    return (
        f"md5 {md5} is not that of the published Vistas model ({PUBLISHED_MD5}): it is "
        "another one, or not the file that was published; make sure of where it comes from"
    )


def _import_archive(
    archive: OpenArchive, path: Path, folder: Path, fallback: NetworkSettings
) -> PublishedFiles:
    snapshot = read_snapshot(archive.weights)
    config = None
    text, metadata = archive.texts[_CONFIGURATION], archive.files[METADATA_FILE]
    if text is not None:
        config = parse_config(text, f"{path.name}/config.ini", _kind_of(snapshot))
    if metadata is None:
        imported = _import_weights(snapshot, config, fallback)
        missing = f"{path.name} holds no {METADATA_FILE}, so there are no class names"
        return PublishedFiles(
            imported.checkpoint,
            imported.experiment,
            notes=(origin_of(archive.md5), missing, *imported.notes),
        )
    space = parse_metadata(metadata, f"{path.name}/{METADATA_FILE}", path.stem).space
    if snapshot.num_classes != (space.num_stuff, space.num_things):
        raise WeightFileError(
            f"{path}: its {METADATA_FILE} lists {space.num_stuff} stuff and {space.num_things} "
            f"thing classes, its weights have {snapshot.num_classes[0]} and "
            f"{snapshot.num_classes[1]}: they do not belong together"
        )
    imported = _import_weights(snapshot, config, fallback, str(folder / METADATA_FILE))
    classes = (
        f"{space.num_classes} classes ({space.num_stuff} stuff, {space.num_things} things) are "
        f"read from {METADATA_FILE} beside the experiment: prediction on your own files works at "
        "once; to evaluate or train, name a data set in data.root (and data.format)"
    )
    files = {METADATA_FILE: metadata} if imported.experiment is not None else {}
    return PublishedFiles(
        imported.checkpoint,
        imported.experiment,
        files,
        (origin_of(archive.md5), classes, *imported.notes),
    )


def _import_weights(
    snapshot: Snapshot,
    config: OriginalConfig | None,
    fallback: NetworkSettings,
    metadata: str = "",
) -> PublishedFiles:
    """Import a snapshot with the configuration beside it, else the one inside."""
    num_stuff, num_thing = snapshot.num_classes
    if config is None and snapshot.config is not None:
        name = f"the configuration in {snapshot.path.name}"
        config = parse_config(snapshot.config, name, _kind_of(snapshot))
    if config is None:
        note = (
            f"{snapshot.path.name} brings no configuration: its weights are read for the network "
            "of preset vistas_r50; for another one, give an experiment (.yaml) instead of the task"
        )
        checkpoint = convert_snapshot(snapshot, fallback, num_stuff=num_stuff, num_thing=num_thing)
        return PublishedFiles(checkpoint, notes=(note,))
    experiment, notes = experiment_of(config, _DATA_FOLDER, metadata)
    try:
        network = NetworkSettings.model_validate(network_values(config))
    except ValidationError as error:
        raise SettingsError(f"{config.name}: {error}") from error
    checkpoint = convert_snapshot(snapshot, network, num_stuff=num_stuff, num_thing=num_thing)
    further = () if metadata else (_DATA_NOTE,)
    return PublishedFiles(checkpoint, experiment, notes=(*further, *notes))


def _kind_of(snapshot: Snapshot) -> Kind:
    """Return the kind of configuration that belongs to the heads of a snapshot."""
    if "sem_head" in snapshot.modules:
        return "panoptic"
    masks = any(name.startswith("roi_head.roi_msk.") for name in snapshot.entries)
    return "instance_seg" if masks else "detection"
