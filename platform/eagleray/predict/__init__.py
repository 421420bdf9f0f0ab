"""The trained task on a user's own files."""

from eagleray.predict.driver import PredictSummary, predict_files

__all__ = ["PredictSummary", "predict_files"]
