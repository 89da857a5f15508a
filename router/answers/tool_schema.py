"""Checks of a tool call's arguments against the schema that the caller gave.

The schema may be wrong, of another draft, or built to take for ever. If it cannot be checked, the
arguments count as allowed.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import orjson

MOST_STEPS: Final = 2_000
"""Most keywords applied to one call's arguments, about 50 ms. With references, each line of a
schema can double their number."""
PASSED_OVER: Final = ("pattern", "uniqueItems", "unevaluatedProperties", "unevaluatedItems")
"""Keywords that can take minutes to apply to one value."""
OPEN: Final = frozenset(
    {"additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames"}
    | {"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"}
)
"""Keywords that may allow arguments that `properties` does not list."""


def allows(schema: Any, value: Any) -> bool:
    """Return whether the schema allows the value. Nothing that it refers to is fetched."""
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


def undeclared(schema: Any, value: Any) -> list[str]:
    """Return the arguments that a schema with a plain list of properties does not name.

    JSON Schema allows such arguments, but the model has made them up.
    """
    if not isinstance(schema, dict) or not isinstance(value, dict) or schema.keys() & OPEN:
        return []
    declared = schema.get("properties")
    if not isinstance(declared, dict) or not declared:
        return []
    return [name for name in value if name not in declared]


class _Enough(Exception):
    """The schema takes too many steps."""


class _Steps:
    left = 0


_steps: Final = _Steps()


@cache
def _judge(draft: Any) -> Any:
    """Return the validator of a draft, changed to count its steps."""
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
