"""Write the requirements files from pyproject.toml: python -m tools.requirements

`make lock` runs it before it writes the lock files.
"""

import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
HEAD: Final = "# Written by `make lock` from pyproject.toml: change it there."
NO_DEPS: Final = "# Install with: pip install --no-deps -r requirements-embedded.txt"


def files() -> dict[str, str]:
    """Return the content of each requirements file by its path."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups: dict[str, list[str]] = pyproject["dependency-groups"]
    extras: dict[str, list[str]] = pyproject["project"]["optional-dependencies"]
    runtime = [*pyproject["project"]["dependencies"], *groups["check"]]
    return {
        "requirements.txt": _file(runtime),
        "requirements-dev.txt": _file(groups["dev"], "-r requirements.txt"),
        "requirements-postgres.txt": _file(extras["postgres"]),
        "requirements-state.txt": _file(extras["state"]),
        "requirements-embedded.txt": _file(groups["embedded"], NO_DEPS, "--only-binary :all:"),
        "tools/requirements.txt": _file(groups["training"]),
    }


def _file(requirements: list[str], *options: str) -> str:
    return "\n".join([HEAD, *options, *sorted(requirements, key=str.lower), ""])


def main() -> None:
    """Write the files."""
    for path, content in files().items():
        (ROOT / path).write_text(content, "utf-8")


if __name__ == "__main__":
    main()
