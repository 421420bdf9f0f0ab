"""What is published, for ``eagleray download``: OPS' two checkpoints, and OpenAI's CLIPs."""

from __future__ import annotations

from eagleray.task import Download

_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_DRIVE = "https://drive.google.com/file/d"


def _clip(name: str, file: str, sha256: str) -> Download:
    return Download(
        name=f"clip_{name}",
        summary=f"CLIP {file.removesuffix('.pt')} of OpenAI",
        url=f"{_OPENAI}/{sha256}/{file}",
        license="MIT (weights of OpenAI's CLIP)",
        file=file,
        checksum=f"sha256:{sha256}",
    )


def _ops(name: str, summary: str, url: str, file: str) -> Download:
    return Download(
        name=name,
        summary=summary,
        url=url,
        license="Apache-2.0 (OPS)",
        file=file,
        by_hand=f"open {url} with a browser (Google Drive) and save the file",
    )


DOWNLOADS = (
    _clip(
        "vit_b_16",
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    ),
    _ops(
        "ops_without_rerp",
        "OPS, trained on COCO-Stuff 164k without RERP",
        f"{_DRIVE}/1MxM5oFZnj4OnmdeDQdXrnZ9AoFNpc2Gg/view?usp=sharing",
        "OOOPS_without_REPR.pt",
    ),
    _ops(
        "ops_with_rerp",
        "OPS, trained on COCO-Stuff 164k with RERP",
        f"{_DRIVE}/1zgEXNOOHojQ7XRl-DHVGPh4lA4RtBv84/view?usp=sharing",
        "OOOPS_with_REPR.pt",
    ),
)
"""As the README of the released code links them; OpenAI's addresses hold the files' checksums."""

CLIP_HINT = "`eagleray download clip_vit_b_16` fetches OpenAI's ViT-B/16"
