"""The console command `llm-router`. cli.py has its subcommands, doctor.py its health check."""

import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Run the command line and exit with its status.

    In an installed copy the program lies within this folder, in a clone beside it.
    """
    home = HERE if (HERE / "config.py").exists() else HERE.parent
    sys.path.insert(0, str(home))
    from launch import run

    run("llm_router.cli")
