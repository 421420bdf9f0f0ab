import pytest
from pydantic import ValidationError

from eagleray_seamseg.model.config import (
    BodySettings,
    FpnSettings,
    NetworkSettings,
    RoiSettings,
    RpnSettings,
    cityscapes_r50,
    vistas_r50,
)


def test_defaults_are_the_original_package_s() -> None:
    settings = NetworkSettings()
    assert settings.body.backbone == "resnet50"
    assert settings.body.bn_frozen
    assert settings.rpn.anchor_ratios == (1.0, 0.5, 2.0)
    assert (settings.rpn.anchor_scale, settings.rpn.min_size) == (8, 16)
    assert settings.rpn.num_post_nms_val == 300
    assert (settings.roi.num_samples, settings.roi.nms_threshold) == (128, 0.3)


def test_paper_configurations_follow_the_table() -> None:
    vistas, cityscapes = vistas_r50(weights="w.pt"), cityscapes_r50()
    assert vistas.body.weights == "w.pt"
    assert (vistas.num_fpn_levels, cityscapes.num_fpn_levels) == (6, 5)
    assert vistas.rpn.anchor_ratios == (0.2, 0.5, 1.0, 2.0, 5.0)
    assert (vistas.rpn.anchor_scale, cityscapes.rpn.anchor_scale) == (2, 8)
    assert (vistas.roi.max_predictions, cityscapes.roi.max_predictions) == (256, 100)
    for settings in (vistas, cityscapes):
        assert not settings.body.bn_frozen
        assert settings.body.num_frozen == 2
        assert settings.rpn.num_post_nms_val == 1000
        assert settings.rpn.min_size == 0
        assert settings.roi.num_samples == 512
        assert settings.roi.nms_threshold == 0.5


def test_every_field_is_described() -> None:
    for model in (NetworkSettings, BodySettings, FpnSettings, RpnSettings, RoiSettings):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NetworkSettings(rpn=RpnSettings(fpn_levels=6)), "raise fpn.extra_scales"),
        (lambda: RoiSettings(roi_size=(7, 14)), "must be even"),
        (lambda: BodySettings(backbone="resnet42"), "resnet101"),
        (lambda: BodySettings(rgb_mean=(0.5, 0.5, 0.5)), "both rgb_mean and rgb_std"),
        (lambda: BodySettings(num_frozen=6), "less than or equal to 5"),
        (lambda: BodySettings(num_frozzen=1), "num_frozzen"),  # type: ignore[call-arg]
    ],
)
def test_impossible_settings_are_refused_with_a_reason(build, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()
