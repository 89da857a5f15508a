"""The models that OFFLINE=true leaves of a local server: those that run on its machine."""

from dataclasses import replace

from router.backend import Model
from router.deciding.facts import Side
from router.local.servers import has_remote_name


def without_remote_models(side: Side) -> Side:
    """Return the local side without the models that its server passes on to a cloud."""
    status = side.status
    models = tuple([model for model in status.models if not _runs_in_a_cloud(model)])
    model = status.model
    if model is not None and _runs_in_a_cloud(model):
        detail = f"OFFLINE=true: {model.id} runs in a cloud. Set LOCAL_MODEL to one that does not."
        status = replace(status, state="down", model=None, detail=detail)
    elif len(models) == len(status.models):
        return side
    return replace(side, status=replace(status, models=models))


def _runs_in_a_cloud(model: Model) -> bool:
    return model.remote or has_remote_name(model.id)
