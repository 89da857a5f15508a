"""Chooses among the loaded models of a server, among local servers, and among clouds."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from router.backend import Model
from router.deciding.facts import Side, needed_tokens
from router.request import ChatRequest, has_images, size_tokens
from router.scoring.background import background_kind


def with_smallest(
    request: ChatRequest,
    locals_: Sequence[Side],
    size_b: Callable[[Model], float | None],
    is_able: Callable[[Model], bool],
    *,
    last: str = "",
) -> list[Side]:
    """Return the local sides, each with its smallest loaded model that suffices for the request.

    `is_able` tells whether a model can do what is asked. `last` is the model of the conversation's
    last turn, if its prompt cache is still warm.
    """
    loaded = [[model for model in side.status.models if model.loaded] for side in locals_]
    if all(len(models) < 2 for models in loaded):
        return list(locals_)
    needed = needed_tokens(size_tokens(request), request.max_tokens)
    has_tools, pictures = bool(request.tools), has_images(request)

    def suffices(model: Model) -> bool:
        room = model.room_tokens
        if (room is not None and room < needed) or (
            (pictures and model.vision is False) or (has_tools and model.tools is False)
        ):
            return False
        return is_able(model)

    background = background_kind(request) is not None

    def with_choice(side: Side, models: Sequence[Model]) -> Side:
        chosen = smallest_that_suffices(models, size_b, suffices, background=background, last=last)
        if chosen is None:
            return side
        return replace(side, status=replace(side.status, state="ready", model=chosen, detail=""))

    return [with_choice(side, models) for side, models in zip(locals_, loaded, strict=True)]


def smallest_that_suffices(
    models: Sequence[Model],
    size_b: Callable[[Model], float | None],
    suffices: Callable[[Model], bool],
    *,
    background: bool = False,
    last: str = "",
) -> Model | None:
    """Choose among loaded models; the largest where none suffices.

    `last` is the model of the conversation's last turn, which it has in its cache: it goes on while
    it suffices. Models of unknown size are left out. Returns None where fewer than two are left.
    """
    sized = [(size, model) for model in models if (size := size_b(model)) is not None]
    if len(sized) < 2:
        return None
    by_size = [model for _, model in sorted(sized, key=lambda one: one[0])]
    if background:
        return by_size[0]
    able = [model for model in by_size if suffices(model)]
    if not able:
        return by_size[-1]
    return next((model for model in able if model.id == last), able[0])


def first_up(locals_: Sequence[Side]) -> Side:
    """Return the first server that is ready, else the first one that is up."""
    for side in locals_:
        if side.usable and side.status.state == "ready":
            return side
    return next((side for side in locals_ if side.up), locals_[0])


def best_first(clouds: Sequence[Side]) -> list[Side]:
    """Return the clouds that can answer, in their order; without one, the first."""
    return [cloud for cloud in clouds if cloud.usable] or [clouds[0]]
