"""The names of models that a caller can demand."""

from router.backend import Model, Status
from router.deciding.facts import Side
from router.sides.names import Names


def side(target: str, *models: str) -> Side:
    known = tuple(map(Model, models))
    return Side("local" if target == "local" else "cloud", target, Status("ready", known[0], known))


def test_names_that_were_noted_stay_while_their_side_is_down() -> None:
    names = Names((), None)
    names.note([side("local", "qwen")], side("cloud", "claude"))
    names.note([Side("local", "local", Status("down"))], side("cloud", "claude"))
    assert names.demanded("qwen", None) == ("local", "qwen")
    assert names.demanded("claude", None) == ("cloud", "claude")
    assert names.demanded("claude", "local") == ("local", "")
    assert names.demanded("other", None) == (None, "")
