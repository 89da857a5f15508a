from pathlib import Path
from typing import Any

import pytest

from config import SettingsError, load_settings
from web.reload import check_local_url

KEY = "sk-4711-ordinary-letters"
Expected = dict[str, dict[str, Any]]

LISTS: list[tuple[str, Expected]] = [
    ("gpu=http://10.0.0.7:8000/v1", {"gpu": {"private": False, "model": "", "key": None}}),
    ("here=http://localhost:1234/v1", {"here": {"private": True}}),
    ("here=http://localhost:1234/v1;private=no", {"here": {"private": False}}),
    (
        "studio=http://studio.lan:1234/v1 ; private=yes ; model=qwen , gpu=http://x;concurrency=3",
        {"studio": {"private": True, "model": "qwen"}, "gpu": {"concurrency": 3}},
    ),
    ("a=http://x/v1;key=one,two,b=http://y/v1,", {"a": {"key": "one,two"}, "b": {"key": None}}),
    ("a=http://x/v1?b=c", {"a": {"url": "http://x/v1?b=c"}}),
    ("a=http://x/v1;model=;key=", {"a": {"model": "", "key": None}}),
]


@pytest.mark.parametrize(("text", "expected"), LISTS)
def test_a_list_of_servers_is_read(text: str, expected: Expected) -> None:
    servers = load_settings(None, local_servers=text).servers
    assert [server.name for server in servers] == list(expected)
    for server in servers:
        for option, value in expected[server.name].items():
            given = getattr(server, option)
            shown = given.get_secret_value() if option == "key" and given else given
            assert shown == value, (server.name, option)


FAULTS = [
    ("gpu", "gpu has no address"),
    (",", "name=address"),
    ("gpu=ftp://x/v1", "url is an address that starts with http://"),
    ("gpu=http://[1/v1", "url is an address"),
    ("GPU=http://x/v1", "begins with a letter"),
    ("local=http://x/v1", "none of auto, claude"),
    ("a=http://x/v1,a=http://y/v1", "'a' comes twice"),
    ("gpu=http://x/v1;private=perhaps", "private is yes or no"),
    ("gpu=http://x/v1;concurrency=0", "concurrency is greater than"),
    ("gpu=http://x/v1;speed=9", "another one (speed)"),
    ("gpu=http://x/v1;private", "with an option of url, model"),
    (f"gpu=http://x/v1;key={KEY};private={KEY}", "private is yes or no"),
    (f"gpu={KEY}", "url is an address"),
]


@pytest.mark.parametrize(("text", "says"), FAULTS)
def test_an_unusable_list_is_one_line_without_its_keys(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, local_servers=text)
    line = str(caught.value)
    assert line.startswith("LOCAL_SERVERS must be ")
    assert says in line
    assert KEY not in line
    assert "\n" not in line


def test_a_file_has_a_table_for_each_server(tmp_path: Path) -> None:
    file = tmp_path / "servers.toml"
    file.write_text(
        f'[studio]\nurl = "http://studio.lan:1234/v1"\nprivate = true\nkey = "{KEY}"\n'
        '[gpu]\nurl = "http://10.0.0.7:8000/v1"\nmodel = "qwen"\nconcurrency = 4\n'
    )
    settings = load_settings(None, local_servers_file=str(file))
    studio, gpu = settings.servers
    assert (studio.name, studio.private, gpu.private) == ("studio", True, False)
    assert (gpu.model, gpu.concurrency) == ("qwen", 4)
    assert settings.secrets == (KEY,)
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "a file that can be read"),
        (b"", "at least one server"),
        (b"[gpu\n", "a TOML file (at line 1"),
        (b'key = "\xff"', "a TOML file in UTF-8"),
        (b"gpu = 1", "a table [gpu]"),
        (b"[gpu]\nmodel = 1\nurl = 'http://x'", "model is"),
    ],
)
def test_an_unusable_file_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "servers.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"^LOCAL_SERVERS_FILE must be ") as caught:
        load_settings(None, local_servers_file=str(file))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_one_of_list_and_file_may_be_set(tmp_path: Path) -> None:
    file = tmp_path / "servers.toml"
    file.write_text('[gpu]\nurl = "http://x/v1"')
    with pytest.raises(SettingsError, match="remove one"):
        load_settings(None, local_servers="a=http://x/v1", local_servers_file=str(file))


def test_without_a_list_there_is_the_server_at_local_base_url() -> None:
    settings = load_settings(
        None, local_base_url="http://me:pass%20word@x/v1", local_model="m", local_api_key=KEY
    )
    (server,) = settings.servers
    assert (server.name, server.model, server.private) == ("local", "m", True)
    assert {KEY, "pass word"} <= set(settings.secrets)


def test_a_listed_server_that_is_the_router_itself_is_refused() -> None:
    settings = load_settings(None, local_servers="a=http://x/v1,me=http://localhost:8080/v1")
    with pytest.raises(SettingsError, match=r"^me=.* this server's own address"):
        check_local_url(settings)
