"""EmbeddedBackend: relays to the built-in model's server, which it starts when first needed."""

from router.backend import ConfidenceMode, Model, Reply, Status, TimeLimits
from router.embedded.server import CONTEXT_TOKENS, SLOTS, EmbeddedServer
from router.errors import BackendUnreachable
from router.local_client import LocalBackend
from router.request import ChatRequest

NOTICE = (
    "Until then the built-in model answers; it is only a demonstration. Or set a cloud's key"
    " in .env: ANTHROPIC_API_KEY, GEMINI_API_KEY, or OPENAI_API_KEY and OPENAI_MODEL."
)
STAND_IN = "Until then {} of EMBEDDED_MODEL answers."


class EmbeddedBackend:
    """A local backend whose server is a child process."""

    name = "embedded"

    def __init__(
        self, server: EmbeddedServer, limits: TimeLimits, confidence: ConfidenceMode = "off"
    ) -> None:
        self.server = server
        self._limits = limits
        self._confidence = confidence
        self._relay: LocalBackend | None = None

    async def start(self) -> None:
        """Begin to load the model; returns at once."""
        await self.server.start()

    async def open(self, request: ChatRequest, model: str) -> Reply:
        await self.server.start()
        relay = await self._relay_when_ready()
        return await relay.open(request, self.server.model_id)

    async def probe(self) -> Status:
        if self.server.unavailable_reason:
            return Status("unconfigured", detail=self.server.unavailable_reason)
        ready = self.server.base_url is not None
        model = Model(
            self.server.model_id,
            loaded=ready,
            context_tokens=CONTEXT_TOKENS,
            max_context_tokens=CONTEXT_TOKENS,
            vision=False,
            parallel=SLOTS,
        )
        detail = NOTICE if self.server.built_in else STAND_IN.format(model.id)
        return Status("ready" if ready else "cold", model, (model,), "embedded", detail=detail)

    async def aclose(self) -> None:
        await self._forget_relay()
        await self.server.aclose()

    async def _relay_when_ready(self) -> LocalBackend:
        if not await self.server.ready() or self.server.base_url is None:
            raise BackendUnreachable(
                self.server.unavailable_reason or "The embedded model is not there.",
                backend=self.name,
            )
        if self._relay is None or self._relay.base_url != self.server.base_url:
            await self._forget_relay()
        if (relay := self._relay) is None:
            relay = self._relay = LocalBackend(
                self.server.base_url,
                self.server.model_id,
                name=self.name,
                limits=self._limits,
                kind="llama.cpp",
                confidence=self._confidence,
            )
        return relay

    async def _forget_relay(self) -> None:
        relay, self._relay = self._relay, None  # before waiting: other requests may make a new one
        if relay is not None:
            await relay.aclose()
