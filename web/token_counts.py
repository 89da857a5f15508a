"""Token counts of Messages requests: Claude's own for a model of Claude's, else an estimate."""

from router.backend import CountsTokens
from router.errors import RouterError
from router.request import ChatRequest, size_tokens
from router.router import Router


async def count_tokens(router: Router, request: ChatRequest) -> int:
    """Return the tokens of the prompt.

    Claude counts only requests whose model name sends them to Claude: a prompt that is private,
    or that the router may answer on this machine, does not leave it to be counted.
    """
    backend = router.cloud.backend if router.cloud is not None else None
    if not isinstance(backend, CountsTokens):
        return size_tokens(request)
    try:
        decision = await router.decide(request)
        if decision.forced and decision.first.backend == backend.name:
            return await backend.count_tokens(request, decision.first.model)
    except RouterError:
        pass  # estimate instead
    return size_tokens(request)
