"""What is published, for ``eagleray download``: POP-3D's weights and words, and the detector whose
backbone training begins with.
"""

from __future__ import annotations

from eagleray.task import Download

_POP3D = "https://data.ciirc.cvut.cz/public/projects/2023POP3D"

DOWNLOADS = (
    Download(
        name="pop3d_weights",
        summary="POP-3D, the weights of the paper's results",
        url=f"{_POP3D}/pop3d_weights.pth",
        license="Apache-2.0 (POP-3D); trained on nuScenes (non-commercial)",
        file="pop3d_weights.pth",
    ),
    Download(
        name="pop3d_words",
        summary="CLIP ViT-B/16's vectors of POP-3D's 102 words",
        url=f"{_POP3D}/zeroshot_weights.pth",
        license="Apache-2.0 (POP-3D); MIT (CLIP)",
        file="zeroshot_weights.pth",
    ),
    Download(
        name="r101_dcn_fcos3d",
        summary="FCOS3D's ResNet-101 with deformable convolutions, which POP-3D begins with",
        url="https://github.com/zhiqi-li/storage/releases/download/v1.0/"
        "r101_dcn_fcos3d_pretrain.pth",
        license="Apache-2.0 (BEVFormer); trained on nuScenes (non-commercial)",
        file="r101_dcn_fcos3d_pretrain.pth",
    ),
)
"""As the READMEs of POP-3D and BEVFormer link them; no checksums are published."""
