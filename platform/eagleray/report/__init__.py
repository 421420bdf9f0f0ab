"""Results of runs as one HTML file that needs nothing else."""

from eagleray.report.document import report_html

__all__ = ["report_html"]
