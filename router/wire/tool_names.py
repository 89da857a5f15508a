"""Tool names that hold a namespace, and the short form in which models call them.

A model that is offered `files.search`, `files__search` or `mcp/files/search` may call `search`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_SEPARATOR: Final = re.compile(r"__+|[./:]+")


def full_names(names: Iterable[str]) -> dict[str, str]:
    """Return the full name for each last part of a name that stands for one tool only.

    A last part that is itself the name of a tool is left out.
    """
    names = list(dict.fromkeys(names))
    last_parts = {name: _SEPARATOR.split(name)[-1] for name in names}
    uses = Counter(last_parts.values())
    taken = {"", *names}
    return {
        last: name for name, last in last_parts.items() if uses[last] == 1 and last not in taken
    }


def full_names_of(tools: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the full names of the tools of a chat request, by the short names for them."""
    if not tools:
        return {}
    functions = (tool.get("function") for tool in tools)
    return full_names(f["name"] for f in functions if isinstance(f, dict) and "name" in f)
