"""What all wrong tasks are: the sixth task with one mistake, and what is to be said of it."""

from typing import ClassVar

from tests import sixth_task


class WrongTask(sixth_task.SquareTask):
    """The sixth task with one mistake."""

    sentence: ClassVar[str] = ""
    """Part of the finding that names the mistake."""
