"""The round trip of ``eagleray check --published``, on weights in the original's names."""

import torch
from tests.eagleray_efficientps.small_network import cityscapes_settings
from tests.eagleray_efficientps.test_published_import import original_names

from eagleray.check.findings import CheckReport
from eagleray.check.prediction import check_import
from eagleray_efficientps.task import EfficientPSTask


def found(tmp_path, change):
    """Import weights that were saved in the original's names; return the findings."""
    task = EfficientPSTask(cityscapes_settings(tmp_path))
    network = task.build()
    names = original_names(network)
    state = {names[name]: value for name, value in network.state_dict().items()}
    change(state)
    path = tmp_path / "published.pth"
    torch.save({"meta": {}, "state_dict": state}, path)
    report = CheckReport()
    check_import(task, network, path, tmp_path, report)
    return [str(finding) for finding in report.findings]


def test_weights_of_the_original_go_round(tmp_path):
    assert found(tmp_path, lambda state: None) == []


def test_a_weight_of_another_shape_is_found(tmp_path):
    def transpose(state):
        name = next(n for n, v in state.items() if v.ndim == 4 and v.shape[0] != v.shape[1])
        state[name] = state[name].transpose(0, 1).contiguous()

    (finding,) = found(tmp_path, transpose)
    assert "import round trip" in finding and "does not fit the network" in finding
