"""The side that a caller names: by X-Force-Route, or by the name of a model."""

from collections.abc import Collection, Sequence

from router.backend import Status, Target
from router.deciding.facts import Side
from router.errors import InvalidRequest
from router.sides.seat import Seat


class Names:
    """The names of each side's models. They stay its own while it is down."""

    def __init__(
        self,
        set_models: Collection[str],
        embedded: Seat | None,
        known: dict[Target, set[str]] | None = None,
    ) -> None:
        """Take the models that the user has set for local servers, and the built-in one.

        `known`: the ids of each side's models when it was last up, as an earlier router has left
        them; this one goes on with it.
        """
        self._set_models = frozenset(set_models)
        self._embedded = embedded
        self._known: dict[Target, set[str]] = {} if known is None else known
        self._known_by: dict[Target, list[Status]] = {"local": [], "cloud": []}
        """The statuses that those ids were taken from."""

    def note(self, locals_: Sequence[Side], cloud: Side) -> None:
        """Keep the names of the models that are there now."""
        sides: tuple[tuple[Target, Sequence[Side]], ...] = (("local", locals_), ("cloud", (cloud,)))
        for target, of_target in sides:
            up = [side.status for side in of_target if side.up]
            if up and up != self._known_by[target]:
                self._known_by[target] = up
                models = [model for status in up for model in (*status.models, status.model)]
                self._known[target] = {model.id for model in models if model is not None}

    def demanded(self, name: str, force: str | None) -> tuple[Target | None, str]:
        """Return the side and model that a caller demands, by X-Force-Route or by a model's name.

        `force`: the header's value. Raises InvalidRequest for any but `local` and `cloud`.
        """
        by_name = self._named(name)
        if force is None:
            return by_name
        if force not in ("local", "cloud"):
            raise InvalidRequest("X-Force-Route must be `local` or `cloud`.", param="X-Force-Route")
        target: Target = "local" if force == "local" else "cloud"
        return target, by_name[1] if by_name[0] == target else ""

    def _named(self, name: str) -> tuple[Target | None, str]:
        match name.strip().lower():
            case "local" | "claude-local":
                return "local", ""
            case "cloud":
                return "cloud", ""
        if self.is_embedded(name):
            return "local", name
        if name and name in self._set_models:
            return "local", ""
        targets: tuple[Target, ...] = ("local", "cloud")
        for target in targets:
            if name in self._known.get(target, ()):
                return target, name
        return None, ""

    def is_embedded(self, name: str) -> bool:
        """Return whether this is a name of the built-in model."""
        if self._embedded is None or not name:
            return False
        last = self._embedded.watch.last
        return name == self._embedded.name or (
            last is not None and last.model is not None and last.model.id == name
        )
