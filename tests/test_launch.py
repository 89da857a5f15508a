"""Programs that cannot start say why in one line."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import launch
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    "program", [["server.py"], ["chat.py"], ["tune.py"], ["-m", "llm_router", "doctor"]]
)
def test_before_the_set_up_a_program_says_how_to_do_it(program: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-S", *program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert " is not installed. Run: make serve" in done.stderr


def test_an_old_python_is_named_with_the_command_that_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit) as stopped:
        launch.run("chat.main")
    said = str(stopped.value)
    assert said.startswith("This is Python 3.9.2, and 3.11 is the oldest that works.")
    assert "make serve PYTHON=python3.12" in said


def test_a_missing_module_of_the_program_is_not_reported_as_a_missing_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(name="router.nothing")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ModuleNotFoundError):
        launch.run("chat.main")


@pytest.mark.parametrize(
    "program",
    [
        *(["server.py", "--help"], ["chat.py", "--help"], ["tune.py", "--help"]),
        *(["-m", "llm_router", name] for name in ("--help", "doctor", "keys list", "classify Hi")),
        ["-m", "llm_router", "service", "install", "--dry-run"],
        ["tune.py"],
    ],
    ids=" ".join,
)
def test_a_reader_that_leaves_early_ends_a_program_quietly(
    program: list[str], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, *" ".join(program).split()],
        cwd=ROOT,
        env=os.environ
        | {"JOURNAL_PATH": str(tmp_path / "journal.db"), "EMBEDDED_MODEL": "off"}
        | {"PYTHONUNBUFFERED": ""},
        stdout=writer,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.returncode in (launch.READER_GONE, 1)


WORDS = "import sys\ndef main():\n    print('some words')\n    "
SOCKET = (
    "import socket\ndef main():\n"
    "    here, there = socket.socketpair()\n    there.close()\n    here.send(b'x')"
)


@pytest.mark.parametrize(
    ("program", "unbuffered", "is_read", "status", "said"),
    [
        (f"{WORDS}return 0", "", False, launch.READER_GONE, ""),
        (f"{WORDS}return 0", "1", False, launch.READER_GONE, ""),
        (f"{WORDS}sys.exit()", "", False, launch.READER_GONE, ""),
        (f"{WORDS}sys.exit('Set X.')", "", False, 1, "Set X."),
        (f"{WORDS}raise ValueError('The fault')", "", False, 1, "ValueError: The fault"),
        (SOCKET, "", True, 1, "BrokenPipeError"),
    ],
    ids=["ends", "ends unbuffered", "exits", "message", "error", "socket"],
)
def test_only_a_stdout_that_nobody_reads_ends_a_program_quietly(
    program: str, unbuffered: str, is_read: bool, status: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(program)
    reader, writer = os.pipe()
    if not is_read:
        os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", "from launch import run; run('program')"],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
        | {"PYTHONUNBUFFERED": unbuffered},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(writer)
    if is_read:
        os.close(reader)
    assert done.returncode == status
    assert said in done.stderr
    assert bool(done.stderr) is bool(said)


def test_ctrl_c_ends_a_program_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", lambda name: SimpleNamespace(main=interrupted))
    with pytest.raises(SystemExit) as stopped:
        launch.run("chat.main")
    assert stopped.value.code == launch.INTERRUPTED


SLOW_IMPORT = """
import os, signal

class Field:
    def __set_name__(self, owner, name):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass
        finally:
            print("goes on", flush=True)

class Model:
    field = Field()
"""


@pytest.mark.parametrize(
    "start", ["launch.run('slow')", "import llm_router.cli as c; c.MODULES['keys'] = 'slow'; MAIN"]
)
def test_ctrl_c_during_an_import_ends_a_program_quietly(start: str, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW_IMPORT)
    start = start.replace("MAIN", "c.main(['keys'])")
    done = subprocess.run(
        [sys.executable, "-c", f"import launch; {start}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == -signal.SIGINT  # a shell reports it as 130


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler])
def test_after_an_import_ctrl_c_does_what_it_did_before(handler: Any) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        launch.imported("launch")
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_set_up_with_one_line(tmp_path: Path) -> None:
    pip = tmp_path / "pip.py"
    pip.write_text("import time\nprint('Collecting a', flush=True)\ntime.sleep(30)\n")
    (tmp_path / "a.lock").write_text("a==1\n")
    command = [sys.executable, "tools/install.py", "a thing", "-r", str(tmp_path / "a.lock")]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Installing a thing")
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said == "\nStopped. The same command goes on.\n"
