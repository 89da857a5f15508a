"""Do the arguments of a tool call fit the schema that the caller gave?

The schema is the caller's, so it may be anything: wrong, of another draft, or made to take for
ever. What is beyond us fits: it is not the model's fault.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import orjson

MOST_STEPS: Final = 2_000
"""Keywords applied to one call's arguments, about 50 ms; references can double them per line."""
PASSED_OVER: Final = ("pattern", "uniqueItems", "unevaluatedProperties", "unevaluatedItems")
"""Keywords that one value can keep us busy with for minutes."""


def allows(schema: Any, value: Any) -> bool:
    """Does the schema allow the value? Nothing that it refers to is fetched."""
    import jsonschema  # slow to import, and most answers call no tool
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    if b'"patternProperties"' in orjson.dumps(schema):
        return True
    _steps.left = MOST_STEPS
    try:
        draft = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
        return bool(_judge(draft)(schema, registry=Registry()).is_valid(value))
    except (_Enough, Unresolvable, jsonschema.exceptions.UnknownType, RecursionError):
        return True
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return True  # a keyword with a value that it cannot have


class _Enough(Exception):
    """The schema takes too many steps."""


class _Steps:
    left = 0


_steps: Final = _Steps()


@cache
def _judge(draft: Any) -> Any:
    """The validator of a draft that counts its steps."""
    from jsonschema.validators import extend

    keywords = {name: _counted(keyword) for name, keyword in draft.VALIDATORS.items()}
    passed_over = {name: lambda *_: None for name in PASSED_OVER}
    return extend(draft, keywords | passed_over)  # type: ignore[no-untyped-call]


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def applied(*arguments: Any) -> Any:
        _steps.left -= 1
        if _steps.left < 0:
            raise _Enough
        return keyword(*arguments)

    return applied
