"""Token counts of Messages requests: Claude's own for a model of Claude's, else an estimate."""

from router.backend import CountsTokens
from router.errors import RouterError
from router.request import ChatRequest, size_tokens
from router.router import Router
from router.state.team import Member


async def count_tokens(router: Router, request: ChatRequest, member: Member | None) -> int:
    """Return the tokens of the prompt. `member`: the owner of the key, if a team has keys.

    Claude counts only requests whose model name sends them to Claude. A prompt does not leave this
    machine to be counted if it is private, if the router may answer it here, or if its sender may
    not use the cloud.
    """
    backend = router.cloud.backend if router.cloud is not None else None
    if not isinstance(backend, CountsTokens):
        return size_tokens(request)
    try:
        decision = await router.decide(request, None, member)
        if decision.forced and decision.first.backend == backend.name:
            return await backend.count_tokens(request, decision.first.model)
    except RouterError:
        pass  # estimate instead
    return size_tokens(request)
