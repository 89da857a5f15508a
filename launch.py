"""Start a program of this folder, or say in one line why it cannot start.

Written for any Python 3, so that an old one can read it.
"""

import importlib
import os
import sys

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.abspath(__file__))


def run(module: str) -> None:
    """Run `main` of a module and exit with its status."""
    if sys.version_info < OLDEST:
        version = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            "This is Python " + version + ", and 3.11 is the oldest that works."
            " Install Python 3.12, then run: make serve PYTHON=python3.12"
        )
    try:
        program = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        ours = os.path.join(ROOT, missing)
        if os.path.exists(ours) or os.path.exists(ours + ".py"):
            raise
        sys.exit(
            missing + " is not installed. Run: make serve"
            " (or, in an environment of your own: pip install -r requirements.txt)"
        )
    sys.exit(program.main())
