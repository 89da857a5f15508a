"""What a Claude model accepts, as its Models API says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What to send a model and what not; None where nobody said, which is then left to the API."""

    max_tokens: int | None = None
    max_input_tokens: int | None = None
    images: bool | None = None
    pdfs: bool | None = None
    structured: bool | None = None
    """JSON schemas for answers and strict tools."""
    efforts: tuple[str, ...] | None = None
    adaptive_thinking: bool | None = None
    thinking_off: bool | None = None
    """May thinking be switched off? Where not, a forced tool choice is refused too."""
    between_tools: bool | None = None
    """May thoughts be left to what the model says between its tool calls?"""
    forced_choice: bool | None = None

    @property
    def known(self) -> bool:
        return self != Abilities()

    def nearest_effort(self, wanted: str) -> str | None:
        """The level closest to `wanted` that the model has, a lower one if there is one."""
        if not self.efforts:
            return None
        rank = EFFORTS.index(wanted)
        lower = [level for level in EFFORTS[: rank + 1] if level in self.efforts]
        return lower[-1] if lower else next(e for e in EFFORTS if e in self.efforts)


def abilities(info: Mapping[str, Any]) -> Abilities:
    """Read one model of the Models API; whatever is missing or of another shape is None."""
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


def model_names(listed: Any) -> list[str]:
    """The ids of the Models API's list; none of any other server's."""
    data = listed.get("data") if isinstance(listed, Mapping) else None
    return [
        model["id"]
        for model in (data if isinstance(data, list) else [])
        if isinstance(model, Mapping)
        and model.get("type") == "model"
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
