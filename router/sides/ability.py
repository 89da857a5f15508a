"""The score's row for the models at hand: the local one that would answer, and the cloud."""

from collections.abc import Sequence
from typing import Literal

from router.backend import Model
from router.classifier import Score
from router.scoring.reach import Facts, Label, Reach, known, points, with_labels

Setting = Literal["auto"] | float
"""LOCAL_REACH: "auto", or the points to add to every score; 0 for none."""


class Ability:
    """Knows what the models at hand can do, and adds the row for them to a score.

    `labels` say how good the local models' answers to the user's own prompts were.
    """

    def __init__(self, setting: Setting = "auto", labels: Sequence[Label] = ()) -> None:
        self._setting = setting
        self._labels = labels
        self._reach: dict[tuple[Model, Model | None], Reach | None] = {}

    def learn(self, labels: Sequence[Label]) -> None:
        """Take these labels in place of the earlier ones."""
        self._labels = labels
        self._reach.clear()

    def reach(self, local: Model | None, cloud: Model | None) -> Reach | None:
        """Return what the local model can do; None where that is not known."""
        if local is None or (local.id == "" and not local.origin):
            return None
        key = (local, cloud)
        if key not in self._reach:
            found = _known(local)
            own = [label for label in self._labels if label.model == local.id]
            if found is not None and own:
                found = with_labels(found, own, _known(cloud))
            self._reach[key] = found
        return self._reach[key]

    def applied(
        self, score: Score, local: Model | None, cloud: Model | None, *, has_tools: bool
    ) -> Score:
        """Return the score with the row for these models."""
        if has_tools:
            score = score.of_kind("tools")
        if self._setting != "auto":
            return score.with_local_model(self._setting)
        reach = self.reach(local, cloud)
        added = points(score.kind, score.total, reach, _known(cloud)) if reach else 0.0
        return score.with_local_model(added)


def _known(model: Model | None) -> Reach | None:
    if model is None:
        return None
    facts = Facts(model.parameters_b, quantization=model.quantization, origin=model.origin)
    return known(model.id, facts)
