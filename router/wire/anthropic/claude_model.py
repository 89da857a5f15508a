"""Abilities of Claude models: from the Models API, and built in for until it has answered."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
COMMON_EFFORTS: Final = ("low", "medium", "high")
"""Levels of every model that has effort at all."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """The features that a model accepts; None means unknown."""

    max_tokens: int | None = None
    max_input_tokens: int | None = None
    images: bool | None = None
    pdfs: bool | None = None
    structured: bool | None = None
    """JSON schemas for answers and strict tools."""
    efforts: tuple[str, ...] | None = None
    """Effort levels; while they are unknown, no effort is sent."""
    adaptive_thinking: bool | None = None
    thinking_off: bool | None = None
    """Thinking can be switched off. If not, the model refuses a forced tool choice too."""
    between_tools: bool | None = None
    """Thoughts can be limited to those between tool calls."""
    forced_choice: bool | None = None

    @property
    def known(self) -> bool:
        """Return whether anything is known."""
        return self != Abilities()

    def nearest_effort(self, wanted: str) -> str | None:
        """Return the level closest to `wanted` that the model has, a lower one if there is one."""
        if not self.efforts:
            return None
        rank = EFFORTS.index(wanted)
        lower = [level for level in EFFORTS[: rank + 1] if level in self.efforts]
        return lower[-1] if lower else next(level for level in EFFORTS if level in self.efforts)


_WITHOUT_XHIGH: Final = ("low", "medium", "high", "max")
_ALWAYS_THINKING: Final = Abilities(
    efforts=EFFORTS, adaptive_thinking=True, thinking_off=False, forced_choice=False
)
_EARLY: Final = Abilities(efforts=(), adaptive_thinking=False)

# By the start of a model's id; the longest one counts. Only what the documentation states:
# "Effort" and "Adaptive thinking" of Anthropic's guides, and of Amazon Bedrock's, October 2026.
_BUILT_IN: Final[Mapping[str, Abilities]] = {
    "claude-fable-5": _ALWAYS_THINKING,
    "claude-mythos-5": _ALWAYS_THINKING,
    "claude-mythos-preview": Abilities(
        efforts=_WITHOUT_XHIGH, adaptive_thinking=True, thinking_off=False, forced_choice=False
    ),
    "claude-opus-5-5": Abilities(efforts=EFFORTS, adaptive_thinking=True, forced_choice=False),
    "claude-opus-5": Abilities(efforts=EFFORTS, adaptive_thinking=True),
    "claude-sonnet-5": Abilities(efforts=EFFORTS, adaptive_thinking=True),
    "claude-opus-4-8": Abilities(efforts=EFFORTS, adaptive_thinking=True),
    "claude-opus-4-7": Abilities(efforts=EFFORTS, adaptive_thinking=True),
    "claude-opus-4-6": Abilities(efforts=_WITHOUT_XHIGH, adaptive_thinking=True, thinking_off=True),
    "claude-sonnet-4-6": Abilities(
        efforts=_WITHOUT_XHIGH, adaptive_thinking=True, thinking_off=True
    ),
    "claude-opus-4-5": Abilities(efforts=COMMON_EFFORTS, adaptive_thinking=False),
    "claude-sonnet-4-5": _EARLY,
    "claude-haiku-4-5": _EARLY,
}


def built_in(model: str) -> Abilities:
    """Return what the documentation says of a model; `Abilities()` if it is not in the table."""
    starts = [start for start in _BUILT_IN if model == start or model.startswith(f"{start}-")]
    return _BUILT_IN[max(starts, key=len)] if starts else Abilities()


def abilities(info: Mapping[str, Any]) -> Abilities:
    """Read one model of the Models API; a missing or malformed value becomes None."""
    effort = _at(info, "capabilities", "effort")
    efforts = None
    if isinstance(effort, Mapping):
        efforts = tuple(level for level in EFFORTS if _supported(effort, level))
    thinking_off = _supported(info, "capabilities", "thinking", "types", "disabled")
    return Abilities(
        max_tokens=_count(info, "max_tokens"),
        max_input_tokens=_count(info, "max_input_tokens"),
        images=_supported(info, "capabilities", "image_input"),
        pdfs=_supported(info, "capabilities", "pdf_input"),
        structured=_supported(info, "capabilities", "structured_outputs"),
        efforts=efforts,
        adaptive_thinking=_supported(info, "capabilities", "thinking", "types", "adaptive"),
        thinking_off=thinking_off,
        between_tools=_supported(info, "capabilities", "thinking", "types", "between_tools"),
        forced_choice=False if thinking_off is False else None,
    )


def to_json(known: Abilities) -> dict[str, Any]:
    """Return abilities as JSON, without unknown values."""
    return {name: value for name, value in asdict(known).items() if value is not None}


def from_json(stored: Mapping[str, Any]) -> Abilities:
    """Read what `to_json` wrote; a malformed value becomes None."""
    found: dict[str, Any] = {}
    for field in fields(Abilities):
        value = stored.get(field.name)
        if field.name in ("max_tokens", "max_input_tokens"):
            found[field.name] = _count(stored, field.name)
        elif field.name == "efforts":
            if isinstance(value, list):
                found["efforts"] = tuple(level for level in EFFORTS if level in value)
        else:
            found[field.name] = value if isinstance(value, bool) else None
    return Abilities(**found)


def model_names(listed: Any) -> list[str]:
    """Return the ids in the list of the Models API, without retired models.

    It is empty for any other server's list.
    """
    data = listed.get("data") if isinstance(listed, Mapping) else None
    return [
        model["id"]
        for model in (data if isinstance(data, list) else [])
        if isinstance(model, Mapping)
        and model.get("type") == "model"
        and model.get("lifecycle") != "retired"
        and isinstance(model.get("id"), str)
    ]


def _at(info: Any, *path: str) -> Any:
    for name in path:
        if not isinstance(info, Mapping):
            return None
        info = info.get(name)
    return info


def _supported(info: Any, *path: str) -> bool | None:
    value = _at(info, *path, "supported")
    return value if isinstance(value, bool) else None


def _count(info: Mapping[str, Any], name: str) -> int | None:
    value = info.get(name)
    return value if type(value) is int and value > 0 else None
