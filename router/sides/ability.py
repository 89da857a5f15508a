"""Adds to a score the points for the models at hand: the local one and the cloud's."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from router.backend import Model
from router.classifier import Score
from router.scoring.reach import Facts, Kind, Label, Reach, known, points, with_labels

Setting = Literal["auto"] | float
"""LOCAL_REACH: "auto", or the points to add to every score; 0 for none."""


class Ability:
    """Compares what the local model and the cloud's model can do, and adjusts scores by that.

    `labels` say how good the local models' answers to the user's own prompts were.
    """

    def __init__(self, setting: Setting = "auto", labels: Sequence[Label] = ()) -> None:
        self._setting = setting
        self._labels = labels
        self._pair: _Pair | None = None

    def learn(self, labels: Sequence[Label]) -> None:
        """Replace the labels."""
        self._labels = labels
        self._pair = None

    def reach(self, local: Model | None, cloud: Model | None) -> Reach | None:
        """Return what the local model can do; None if that is unknown."""
        return self._known(local, cloud).local_reach

    def size_b(self, model: Model) -> float | None:
        """Return a model's size in billions of parameters; None if it is unknown."""
        found = _reach(model)
        return model.parameters_b or (found.parameters_b if found is not None else None)

    def applied(
        self, score: Score, local: Model | None, cloud: Model | None, *, has_tools: bool
    ) -> Score:
        """Return the score with the points for these models."""
        kind: Kind = "tools" if has_tools else score.kind
        if self._setting != "auto":
            return score.with_local_model(kind, self._setting)
        pair = self._known(local, cloud)
        added = points(kind, score.total, pair.local_reach, pair.cloud_reach)
        return score.with_local_model(kind, added)

    def _known(self, local: Model | None, cloud: Model | None) -> "_Pair":
        pair = self._pair
        if pair is None or pair.local is not local or pair.cloud is not cloud:
            # Most requests have the same pair, until a server is probed again.
            local_reach, cloud_reach = _reach(local), _reach(cloud)
            own = [one for one in self._labels if local is not None and one.model == local.id]
            if local_reach is not None and own:
                local_reach = with_labels(local_reach, own, cloud_reach)
            pair = self._pair = _Pair(local, cloud, local_reach, cloud_reach)
        return pair


class _Pair(NamedTuple):
    local: Model | None
    cloud: Model | None
    local_reach: Reach | None
    cloud_reach: Reach | None


def _reach(model: Model | None) -> Reach | None:
    if model is None:
        return None
    facts = Facts(model.parameters_b, quantization=model.quantization, origin=model.origin)
    return known(model.id, facts)
