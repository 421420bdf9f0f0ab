"""Segment Anything's weights and the authors' data, for ``eagleray download``."""

from __future__ import annotations

from eagleray.task import Download

_SAM_FOLDER = "https://dl.fbaipublicfiles.com/segment_anything"
_DRIVE_FOLDER = (
    "https://drive.google.com/drive/folders/1e7eCume6solK8NuesWdFe9vabVmA9YYX?usp=sharing"
)
_LLFF_FOLDER = "https://drive.google.com/drive/folders/14boI-o5hGO9srnWaaogTU5_ji7wkX2S7"
_MIPNERF360_PAGE = "https://jonbarron.info/mipnerf360/"
_REPLICA_SCRIPT = "https://github.com/ToniRV/NeRF-SLAM/blob/master/scripts/download_replica.bash"
_UNSTATED = "not stated by its authors: ask them before you publish what you make of it"


def _sam(model: str, digits: str, sha256: str, num_bytes: int) -> Download:
    file = f"sam_{model}_{digits}.pth"
    return Download(
        name=f"sam_{model}",
        summary=f"Segment Anything, {model}: masks.checkpoint of masks.source sam",
        url=f"{_SAM_FOLDER}/{file}",
        license="Apache-2.0",
        file=file,
        checksum=f"sha256:{sha256}",
        num_bytes=num_bytes,
    )


SAM_DOWNLOADS = (
    _sam(
        "vit_h",
        "4b8939",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
    _sam(
        "vit_l",
        "0b3195",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    _sam(
        "vit_b",
        "01ec64",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
)
"""Checksums and sizes as public mirrors of the files agree on them; the digits in the names are
the first ones of their MD5."""


def _by_hand(name: str, summary: str, url: str, how: str, license: str = _UNSTATED) -> Download:
    return Download(
        name=name,
        summary=summary,
        url=url,
        license=license,
        file=f"{name}.zip",
        by_hand=how,
        is_archive=True,
    )


DOWNLOADS = (
    *SAM_DOWNLOADS,
    _by_hand(
        "omniseg3d_samples",
        "the authors' prepared scenes: replica_room_0, 360_counter, llff_flower",
        _DRIVE_FOLDER,
        f"open {_DRIVE_FOLDER} with a browser (Google Drive), choose the scenes, download them as "
        "a zip file",
    ),
    _by_hand(
        "omniseg3d_replica_room_0",
        "the authors' trained model of Replica room_0",
        _DRIVE_FOLDER,
        f"open {_DRIVE_FOLDER} with a browser (Google Drive), choose the results, download them "
        "as a zip file",
    ),
    _by_hand(
        "mipnerf360",
        "the seven public mip-NeRF 360 scenes with COLMAP models (data.format colmap)",
        _MIPNERF360_PAGE,
        f"follow the link to dataset 360_v2 on {_MIPNERF360_PAGE} and save the zip file",
        "stated on that page",
    ),
    _by_hand(
        "nerf_llff",
        "the eight LLFF scenes with COLMAP models (data.format colmap)",
        _LLFF_FOLDER,
        f"open {_LLFF_FOLDER} with a browser (Google Drive), download nerf_llff_data as a zip file",
    ),
    _by_hand(
        "replica",
        "Replica scenes as NeRF-SLAM exports them (data.format replica)",
        _REPLICA_SCRIPT,
        f"run the script {_REPLICA_SCRIPT} and give the zip file that it fetches",
        "Replica's research license, see the dataset's own page",
    ),
)
