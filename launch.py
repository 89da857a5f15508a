"""Start a program of this folder, or say in one line why it cannot start.

Written for any Python 3, so that an old one can read it.
"""

import importlib
import os
import sys

OLDEST = (3, 11)
INTERRUPTED = 130
READER_GONE = 141
"""What a shell reports for programs that Ctrl-C or a closed pipe has ended."""
ROOT = os.path.dirname(os.path.abspath(__file__))


def run(module: str) -> None:
    """Run `main` of a module and exit with its status.

    Ctrl-C and a reader of stdout that leaves early, such as `head`, end it without a word.
    """
    if sys.version_info < OLDEST:
        version = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            "This is Python " + version + ", and 3.11 is the oldest that works."
            " Install Python 3.12, then run: make serve PYTHON=python3.12"
        )
    try:
        status = _status(module)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = READER_GONE
    sys.exit(status)


def _status(module: str) -> int:
    """Run `main` of a module and return its status."""
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
    try:
        return int(program.main())
    finally:
        if sys.stdout is not None:  # as it is without a console on Windows
            sys.stdout.flush()
