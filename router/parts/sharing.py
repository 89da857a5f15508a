"""Builds the store that several routers share, and connects this router's parts to it."""

from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

from addresses import is_this_machine
from config import Settings, SettingsError
from router.parts.parts import Parts
from router.router import Router
from router.sides.availability import Watch
from router.sides.conversations import Conversations
from router.sides.pool import Balancer
from router.sides.private_conversations import PrivateConversations
from router.sides.replicas import KnownRequests, Replicas
from router.sides.shared_breakers import SharedBreakers
from router.state.private_marks import PrivateMarks
from router.state.sealed import SealedStore
from router.state.shared import SharedStore
from router.state.shared_marks import SharedMarks
from router.telemetry.shared_spending import SharedSpending


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """The store of STATE_URL. It outlives a reading of the settings that does not change that."""

    store: SharedStore
    sealed: SealedStore
    """The same, for contents."""
    spending: SharedSpending


def shared(settings: Settings, parts: Parts) -> Shared | None:
    """Return what several routers share, None without STATE_URL.

    Raises SettingsError if STATE_URL cannot be used.
    """
    url = settings.state_url
    if url is None:
        return None
    return parts.get("shared", url, partial(_opened, url.get_secret_value()))


def _opened(url: str) -> Shared:
    try:
        store = SharedStore(url)
        return Shared(store, SealedStore(store), SharedSpending(store))
    except ImportError:
        raise SettingsError(
            "STATE_URL needs two packages: pip install 'valkey[libvalkey]' cryptography"
        ) from None
    except (TypeError, ValueError):
        raise SettingsError("STATE_URL has options that the client does not know.") from None


def id_key(settings: Settings) -> bytes | None:
    """Return the key by which findings get the same ids in all routers that share a store."""
    if settings.state_url is None:
        return None
    return blake2b(settings.state_password.encode(), digest_size=32).digest()


def replicas(
    shared: Shared | None,
    conversations: Conversations,
    privacy: PrivateConversations | None,
    balancer: Balancer | None,
    parts: Parts,
) -> Replicas | None:
    """Return the exchange of conversations with other routers; None without a store.

    `connect` lets marks and balancer use it.
    """
    if shared is None:
        return None
    shared_marks = None
    if privacy is not None:
        marks = privacy.marks
        make = partial(SharedMarks, shared.store, marks)
        shared_marks = parts.get("shared marks", (shared, marks), make)
    known = parts.get("known requests", shared, KnownRequests)
    return Replicas(shared.store, conversations, shared_marks, balancer, known)


def connect(settings: Settings, shared: Shared | None, router: Router) -> None:
    """Connect the router's marks, balancer and breakers to the store, in place of an earlier one.

    A router of earlier settings may have used the same ones.
    """
    replicas = router.replicas
    if router.privacy is not None:
        _listen(router.privacy.marks, replicas.marks if replicas is not None else None, shared)
    if router.balancer is not None:
        router.balancer.placed = replicas.placed if replicas is not None else None
    for seat in router.seats.values():
        seat.watch.on_breaker = None
    if shared is not None:
        SharedBreakers(shared.store, _shared_watches(settings, router))


def _listen(marks: PrivateMarks, listener: SharedMarks | None, shared: Shared | None) -> None:
    """Pass marks on to this listener, at first those that another one or none has got."""
    if marks.listener is listener:
        return
    marks.listener = listener
    if listener is not None and shared is not None:
        shared.store.on_return("marks", listener.renew)
        if shared.store.up:
            listener.renew()


def _shared_watches(settings: Settings, router: Router) -> dict[bytes, Watch]:
    """Return the watches of backends that other routers use too, by a digest of each.

    Servers on this machine are left out: the same address is another server on other machines.
    """
    reached = {
        server.url: seat.watch
        for seat, server in zip(router.locals, settings.servers, strict=True)
        if not is_this_machine(server.url)
    }
    for provider, seat in zip(settings.clouds, router.clouds, strict=True):
        key = settings.key_of(provider)
        assert key is not None
        reached[f"{provider} {settings.url_of(provider)} {key.get_secret_value()}"] = seat.watch
    return {blake2b(what.encode(), digest_size=16).digest(): reached[what] for what in reached}
