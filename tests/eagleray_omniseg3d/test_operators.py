"""What the doctor learns from the task about compiled operators and weights."""

from __future__ import annotations

from eagleray_omniseg3d.settings import OmniSeg3DSettings
from eagleray_omniseg3d.task import OmniSeg3DTask


def named(requirements):
    return {r.name: r for r in requirements}


def test_the_task_asks_for_them_and_its_hint_names_the_download():
    settings = OmniSeg3DSettings(masks={"source": "sam", "model": "vit_l", "checkpoint": "no.pth"})
    found = named(OmniSeg3DTask(settings).requirements())
    assert "operators for cpu" in found
    assert "eagleray download sam_vit_l" in found["Segment Anything weights"].hint
    assert "sam_vit_l" in {d.name for d in OmniSeg3DTask.downloads()}
