"""Write docs/settings.md and .env.example from settings_fields.py: python -m tools.settings_docs

The class `Settings` is read as text: a comment starts a group, the text below a field is its
meaning. A field without one is an error.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config import Settings

ROOT: Final = Path(__file__).parent.parent
COLUMNS: Final = 100
HEAD: Final = """# Settings

<!-- Written by `make docs` from settings_fields.py: change it there. -->

Settings come from the environment, else from a `.env` file, else from the defaults below. The
first of these files that sets one of them is read:

1. `.env` in the working directory,
2. in a clone: `.env` in its folder,
3. `.env` in your configuration folder (Linux: `~/.config/llm-router/`, macOS:
   `~/Library/Application Support/llm-router/`, Windows: `%LOCALAPPDATA%\\llm-router\\`).

`llm-router doctor` says which one was read. An empty value counts as unset. Settings are read at
the start, and [again](reliability.md#settings-at-run-time) on SIGHUP or from the status page. A
file in UTF-8, UTF-16 or Latin-1 can be read. What is odd about it (a name that is nearly a
setting's, a name that is set twice, curly quotes, a file that other users can read) is a warning;
a value that cannot be used ends the start with one line for each. If each value can be used by
itself, the first contradiction between settings ends it; if there is none, the first pattern in
`PRIVATE_PATTERNS` that cannot be used.

```sh
cp .env.example .env && chmod 600 .env
```

For one start, options win over the settings (`llm-router serve --help` lists them):

<!-- not run: does not end by itself -->
```sh
.venv/bin/python server.py --port 9000 --env-file work.env
```
"""
EXAMPLE_HEAD: Final = """\
# Copy to .env, keep it to yourself (chmod 600 .env), and remove the # before what you change.
# The environment wins over this file. An empty value counts as unset. The values shown are the
# defaults. Written by `make docs` from settings_fields.py.
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as the documents show it."""

    group: str
    name: str
    default: str
    meaning: str
    example: str


def settings() -> Iterator[Setting]:
    """Yield every setting in the order of the file. Raises ValueError without a meaning."""
    source = (ROOT / "settings_fields.py").read_text("utf-8")
    lines = source.splitlines()
    tree = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "SettingsFields"
    )
    group = ""
    for field, text in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        name = field.target.id
        if name not in Settings.model_fields:
            continue
        comment = re.fullmatch(r" {4}# (.+)", lines[field.lineno - 2])
        group = comment[1] if comment else group
        if not isinstance(text, ast.Expr) or not isinstance(text.value, ast.Constant):
            raise ValueError(
                f"settings_fields.py: {name} has no text below it that says what it means"
            )
        info = Settings.model_fields[name]
        example = str(info.examples[0]) if info.examples and info.default is None else ""
        meaning = " ".join(str(text.value.value).split())
        yield Setting(group, name.upper(), as_written(info.default), meaning, example)


def as_written(value: object) -> str:
    """Return a default as it is written in a .env file."""
    if value is None or value == ():
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def settings_page() -> str:
    """Return docs/settings.md."""
    rows, group = [HEAD], ""
    for one in settings():
        if one.group != group:
            group = one.group
            rows += ["", f"## {group}", "", "| setting | default | meaning |", "|---|---|---|"]
        default = f"`{one.default}`" if one.default else ""
        example = f" Example: `{one.example}`" if is_json(one.example) else ""
        rows.append(f"| `{one.name}` | {default} | {one.meaning}{example} |")
    return "\n".join(rows).replace("\n\n\n", "\n\n") + "\n"


def example_file() -> str:
    """Return .env.example."""
    parts, group = [EXAMPLE_HEAD], ""
    for one in settings():
        if one.group != group:
            group = one.group
            parts.append(f"\n# ---- {group}\n")
        for line in wrapped(one.meaning.replace("`", "")):
            parts.append(f"# {line}\n")
        if is_json(one.example):
            parts.append(f"# Example: {one.name}={one.example}\n")
        parts.append(f"#{one.name}={one.default}\n")
    return "".join(parts)


def is_json(text: str) -> bool:
    """Return whether an example is a JSON object; only those are shown."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def wrapped(text: str) -> list[str]:
    """Return the text in lines that fit behind a `# `."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > COLUMNS - 2:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def main() -> None:
    """Write both files."""
    (ROOT / "docs" / "settings.md").write_text(settings_page(), "utf-8")
    (ROOT / ".env.example").write_text(example_file(), "utf-8")


if __name__ == "__main__":
    main()
