"""The console command `llm-router`. cli.py has its subcommands, doctor.py its health check."""

import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run the command line; returns the exit status.

    In an installed copy the program lies within this folder, in a clone beside it.
    """
    home = HERE if (HERE / "config.py").exists() else HERE.parent
    sys.path.insert(0, str(home))
    from llm_router.cli import main

    return main()
