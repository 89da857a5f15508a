"""`python server.py` as a process, with the official openai client and real tokens."""

import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.support.processes import free_port, llama, server, wait_until

WITHIN_S = 5.0
"""Time until a side that starts or stops is noticed."""


def nowhere() -> str:
    """Return the address of a local server that does not run."""
    return f"http://127.0.0.1:{free_port()}/v1"


def target_of(client: OpenAI) -> tuple[str | None, str | None]:
    """Return the side that answers a short question now, and the reason; the answer has text."""
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
    )
    assert raw.parse().choices[0].message.content
    return raw.headers.get("x-router-target"), raw.headers.get("x-router-reason")


def test_a_fresh_machine_answers_from_the_embedded_model_and_says_what_that_is(
    checkout: Path, model_file: Path
) -> None:
    with server(checkout, local_base_url=nowhere()) as running, running.client() as client:
        running.wait_for("local", "ready")
        raw = client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
        )
        answer = raw.parse()
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert 0 < answer.usage.completion_tokens <= 8
        assert raw.headers["x-router-target"] == "local"
        assert raw.headers["x-router-model"] == model_file.stem

        stream = client.chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": "Count to five."}],
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
        with stream:
            *pieces, last = stream
        words = [choice.delta.content for piece in pieces for choice in piece.choices]
        assert sum(bool(word) for word in words) > 1
        assert last.usage is not None
        assert 0 < last.usage.completion_tokens <= 12

        health = running.health()
        assert health["local"]["backend"] == "embedded"
        for notice in (health["notice"], running.get("/info").json()["notice"]):
            assert "only a demonstration" in notice
            assert "LM Studio" in notice
        assert "only a demonstration" in running.log.read_text()


def test_a_local_server_that_comes_up_later_takes_over_from_the_embedded_model(
    checkout: Path, model_file: Path
) -> None:
    port = free_port()
    with server(checkout, local_base_url=f"http://127.0.0.1:{port}/v1") as running:
        running.wait_for("local", "ready")
        with llama(model_file, port):
            wait_until(
                lambda: running.health()["local"]["backend"] == "local",
                "the local server was not noticed",
                WITHIN_S,
            )
            with running.client() as client:
                target, reason = target_of(client)
            assert target == "local"
            assert reason != "local_down"
            assert running.health()["notice"] is None


def test_without_the_embedded_model_and_a_key_the_answer_says_what_to_do(checkout: Path) -> None:
    with (
        server(checkout, local_base_url=nowhere(), embedded_model="off") as running,
        running.client() as client,
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            target_of(client)
        assert caught.value.status_code == 503
        assert "ANTHROPIC_API_KEY" in caught.value.message


@pytest.fixture
def port() -> int:
    """Return the port of the local server that the tests below stop and start."""
    return free_port()


def with_both_sides(checkout: Path, port: int, model_url: str) -> dict[str, object]:
    """Return settings: the local server answers while it runs, else Claude's stand-in."""
    return {
        "local_base_url": f"http://127.0.0.1:{port}/v1",
        "local_model": "SmolLM2-135M-Instruct.Q4_1",
        "anthropic_api_key": "sk-ant-stand-in",
        "anthropic_base_url": model_url,
        "complexity_threshold": 100,
        "unsure_target": "local",
    }


def test_the_cloud_takes_over_while_the_local_server_is_gone(
    checkout: Path, model_file: Path, model_url: str, port: int
) -> None:
    settings = with_both_sides(checkout, port, model_url)
    with server(checkout, **settings) as running, running.client() as client:
        with llama(model_file, port) as local:
            running.wait_for("local", "ready", WITHIN_S)
            assert target_of(client)[0] == "local"

            local.kill()
            assert target_of(client) == ("cloud", "local_down")
            running.wait_for("local", "down", WITHIN_S)
            assert running.health()["local"]["detail"]
            assert running.health()["cloud"]["up"]

        with llama(model_file, port):
            running.wait_for("local", "ready", WITHIN_S)
            assert target_of(client)[0] == "local"


def test_a_stream_whose_local_server_dies_ends_with_an_error_and_the_next_comes_from_the_cloud(
    checkout: Path, model_file: Path, model_url: str, port: int
) -> None:
    settings = with_both_sides(checkout, port, model_url)
    with (
        llama(model_file, port) as local,
        server(checkout, **settings) as running,
        running.client() as client,
    ):
        running.wait_for("local", "ready", WITHIN_S)
        stream = client.chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": "Tell me a very long story about a fox."}],
            stream=True,
            max_tokens=1000,
        )
        with stream:
            assert next(stream).choices
            local.kill()
            with pytest.raises(openai.APIError):
                list(stream)
        assert target_of(client)[0] == "cloud"


def test_a_forced_request_stays_on_its_side(checkout: Path, model_url: str, port: int) -> None:
    settings = with_both_sides(checkout, port, model_url)
    with server(checkout, **settings) as running, running.client() as client:
        assert target_of(client.with_options(default_headers={"X-Force-Route": "cloud"})) == (
            "cloud",
            "forced",
        )
        with pytest.raises(openai.APIStatusError) as caught:
            target_of(client.with_options(default_headers={"X-Force-Route": "local"}))
        assert caught.value.status_code == 503


def test_a_stop_lets_a_running_answer_finish(checkout: Path, model_file: Path) -> None:
    with server(checkout, local_base_url=nowhere()) as running, running.client() as client:
        running.wait_for("local", "ready")
        pieces = []
        stream = client.chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": "Tell me a story about a fox."}],
            stream=True,
            max_tokens=60,
        )
        with stream:
            for count, chunk in enumerate(stream):
                pieces += [choice.finish_reason for choice in chunk.choices]
                if count == 2:
                    running.process.send_signal(signal.SIGTERM)
        assert pieces[-1] in ("stop", "length")
        assert running.process.wait(timeout=30) in (0, -signal.SIGTERM)


def test_a_second_ctrl_c_ends_in_good_order(checkout: Path, model_file: Path) -> None:
    with (
        server(checkout, local_base_url=nowhere(), shutdown_grace_s=1) as running,
        running.client() as client,
    ):
        running.wait_for("local", "ready")
        stream = client.chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": "Tell me a story about a fox."}],
            stream=True,
            max_tokens=3000,
        )
        for _ in range(2):
            next(stream)
            running.process.send_signal(signal.SIGINT)
        with stream, pytest.raises(openai.APIError, match="shutting down"):
            list(stream)
        running.process.wait(timeout=30)
        log = running.log.read_text()
        assert "Traceback" not in log
        with closing(sqlite3.connect(running.log.with_suffix(".db"))) as journal:
            [(outcome,)] = journal.execute("SELECT outcome FROM requests")
        assert outcome == "failed"


def test_the_embedded_model_ends_with_a_server_that_was_killed(
    checkout: Path, model_file: Path
) -> None:
    with server(checkout, local_base_url=nowhere()) as running:
        running.wait_for("local", "ready")
        line = next(
            text
            for text in running.log.read_text().splitlines()
            if " answers at http://127" in text and "Nothing" not in text
        )
        address = line.rpartition(" ")[2]
        assert httpx2.get(f"{address}/models", trust_env=False).status_code == 200
        running.process.kill()

        def gone() -> bool:
            try:
                httpx2.get(f"{address}/models", trust_env=False)
            except httpx2.TransportError:
                return True
            return False

        wait_until(gone, "the model outlived the server", WITHIN_S)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"SERVER_HOST": "0.0.0.0"}, "ROUTER_API_KEY"),
        ({"SERVER_PORT": "{taken}"}, "set SERVER_PORT to a free port"),
        ({"PRIVATE_PATTERNS": "(a+)+$"}, "PRIVATE_PATTERNS"),
        ({"LOCAL_BASE_URL": "http://localhost:8080/v1"}, "set SERVER_PORT to another port"),
    ],
    ids=["open to all", "port in use", "slow pattern", "asks itself"],
)
def test_a_wrong_setting_is_one_line_and_status_2(
    checkout: Path, setting: dict[str, str], said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = refused(checkout, {k: v.format(taken=port) for k, v in setting.items()})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def refused(checkout: Path, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "server.py"],
        cwd=checkout,
        env={"JOURNAL_PATH": "off", **env},
        capture_output=True,
        text=True,
        check=False,
    )
