"""What happens to a run, told to experiment trackers: MLflow, Weights & Biases."""

from eagleray.track.protocol import RunFacts, Tracker
from eagleray.track.tell import check_trackers, tracked

__all__ = ["RunFacts", "Tracker", "check_trackers", "tracked"]
