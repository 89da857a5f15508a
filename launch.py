"""Start a program of this folder, or say in one line why it cannot start.

Written for any Python 3, so that an old one can read it.
"""

import importlib
import os
import signal
import sys
from types import ModuleType

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
    except SystemExit as ended:
        if ended.code:
            raise
        status = 0
    except BrokenPipeError:
        if not _reader_is_gone("\n"):  # of stdout; the pipe or socket was another one
            raise
        status = READER_GONE
    finally:
        is_gone = _reader_is_gone()
    sys.exit(READER_GONE if is_gone else status)


def _reader_is_gone(more: str = "") -> bool:
    """Write `more` to stdout and flush it; return whether its reader has left.

    If so, stdout becomes the null device: Python flushes it again at exit, and would complain.
    """
    if sys.stdout is None or sys.stdout.closed:  # without a console on Windows it is None
        return False
    try:
        sys.stdout.write(more)  # an unbuffered one has no rest
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def imported(module: str) -> ModuleType:
    """Import a module; Ctrl-C meanwhile ends the program at once, without a word.

    As an exception it could be turned into another one, or be lost, within an import.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, or the program's own
        return importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return importlib.import_module(module)
    finally:
        signal.signal(signal.SIGINT, before)


def _status(module: str) -> int:
    """Run `main` of a module and return its status."""
    try:
        program = imported(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        ours = os.path.join(ROOT, missing)
        if os.path.exists(ours) or os.path.exists(ours + ".py"):
            raise
        sys.exit(
            missing + " is not installed. Run: make serve"
            " (or, in an environment of your own: pip install -r requirements.txt)"
        )
    return int(program.main())
