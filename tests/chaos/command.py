"""The command line with the tests' path: ``python -m tests.chaos.command VERB ...``."""

from __future__ import annotations

import tests.conftest  # noqa: F401  (puts the tests' installed tasks on the path)

from eagleray.cli.main import main

if __name__ == "__main__":
    main()
