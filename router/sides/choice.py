"""Which of several loaded models answers: the smallest whose reach covers the request."""

from collections.abc import Callable, Sequence

from router.backend import Model


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
