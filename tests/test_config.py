"""Settings: where they come from, and what a wrong one says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import config
import env_file
from config import Settings, SettingsError, load_settings
from router.privacy.redact import redact

EXAMPLE = Path(config.__file__).with_name(".env.example")
CANARY = "sk-canary-4711"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the environment and the .env files of the machine that runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(env_file, "places", lambda: (tmp_path / ".env",))


def test_env_example_with_every_line_in_force_changes_nothing(tmp_path: Path) -> None:
    env = tmp_path / "all.env"
    env.write_text(re.sub(r"^#([A-Z_]+=)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE))
    assert load_settings(_env_file=env) == load_settings()


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("LOCAL_MODEL=of-the-file\nSERVER_PORT=9001\n")
    monkeypatch.setenv("LOCAL_MODEL", "of-the-environment")
    settings = load_settings()
    assert (settings.local_model, settings.server_port) == ("of-the-environment", 9001)


def test_an_empty_value_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")
    assert load_settings() == Settings.model_construct()


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "box.lan, 10.0.0.7 ,,")
    assert load_settings().allowed_hosts == ("box.lan", "10.0.0.7")


@pytest.mark.parametrize(
    "address",
    [
        *("http://", "http://[::1/v1", "http://a..b/v1", "http://me:secret@/v1", "http://a b/v1"),
        *("http://localhost:99999/v1", "http://localhost:abc/v1", "http://localhost:0/v1"),
        "ftp://localhost/v1",
    ],
)
def test_an_invalid_address_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(SettingsError, match="LOCAL_BASE_URL must be an address"):
        load_settings(local_base_url=address)


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("http://localhost:1234/v1", True),
        ("http://127.8.0.1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://host.docker.internal:11434/v1", True),
        ("http://192.168.1.7:1234/v1", False),
        ("http://box.lan/v1", False),
        ("https://localhost.example.com/v1", False),
    ],
)
def test_offline_needs_a_local_server_on_this_machine(address: str, is_here: bool) -> None:
    if is_here:
        settings = load_settings(offline=True, local_base_url=address, gemini_api_key="AIza")
        assert not settings.cloud_configured
    else:
        with pytest.raises(SettingsError, match="OFFLINE=true keeps everything on this machine"):
            load_settings(offline=True, local_base_url=address)


STORES = ("valkey://store.lan", "redis://:pw@10.0.0.5:6379/0", "rediss://me:pw@store.lan/2")


@pytest.mark.parametrize("address", STORES)
def test_the_address_of_a_store_is_a_secret_for_its_password_only(address: str) -> None:
    settings = load_settings(state_url=f" {address}\n")
    assert settings.state_url is not None
    assert settings.state_url.get_secret_value() == address
    assert address not in repr(settings)
    assert address not in settings.keys.values()
    assert ("pw" in settings.secrets) == ("pw" in address)
    assert settings.passwords.get("the password in STATE_URL", "pw") == "pw"


@pytest.mark.parametrize(
    "address",
    [
        "store.lan:6379",
        "http://store.lan",
        "valkey://",
        "valkey://s:x",
        "valkey://[::1",
        "redis://s/a",
    ],
)
def test_a_wrong_address_of_a_store_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(SettingsError, match=r"valkey://, redis:// or rediss://") as caught:
        load_settings(state_url=f"{address}?opensesame")
    assert "opensesame" not in str(caught.value)


def test_offline_needs_a_store_on_this_machine() -> None:
    assert load_settings(offline=True, state_url="valkey://localhost").has_store_here
    with pytest.raises(SettingsError, match="STATE_URL"):
        load_settings(offline=True, state_url="valkey://store.lan")


@pytest.mark.parametrize(
    "address", ["http://localhost:1234/v1", "https://me:pw@box.lan/v1", "http://[::1]:1/v1"]
)
def test_an_address_is_kept_unchanged(address: str) -> None:
    assert load_settings(local_base_url=address).local_base_url == address


@pytest.mark.parametrize(
    ("name", "value", "rule", "example"),
    [
        ("SERVER_PORT", "http", "integer", "SERVER_PORT=8080"),
        ("SERVER_PORT", "70000", "65535", "SERVER_PORT=8080"),
        ("COMPLEXITY_THRESHOLD", "101", "100", "COMPLEXITY_THRESHOLD=50"),
        (
            "LOCAL_BASE_URL",
            "localhost:1234",
            "http:// or https://",
            "LOCAL_BASE_URL=http://localhost:1234/v1",
        ),
        (
            "CLOUD_PROVIDER",
            "mistral",
            "'anthropic', 'gemini' or 'openai'",
            "CLOUD_PROVIDER=anthropic",
        ),
        ("ANTHROPIC_BASE_URL", "nowhere", "http:// or https://", "ANTHROPIC_BASE_URL=http"),
        ("LOG_DECISIONS", "perhaps", "boolean", "LOG_DECISIONS=true"),
        ("CLOUD_BUDGET_USD_PER_DAY", "-1", "0", "CLOUD_BUDGET_USD_PER_DAY=5"),
        ("LOCAL_CONCURRENCY", "0", "1", "LOCAL_CONCURRENCY=4"),
        ("CONNECT_TIMEOUT_S", "0", "0", "CONNECT_TIMEOUT_S=2"),
        ("JOURNAL_DAYS", "0", "1", "JOURNAL_DAYS=90"),
    ],
)
def test_a_wrong_value_says_the_variable_the_rule_and_an_example_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, rule: str, example: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    line = str(caught.value)
    assert line.startswith(f"{name} must be ")
    assert rule in line
    assert example in line
    assert "None" not in line
    assert "\n" not in line


def test_listening_beyond_loopback_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_HOST", "0.0.0.0")
    with pytest.raises(SettingsError, match="set ROUTER_API_KEY"):
        load_settings()
    monkeypatch.setenv("ROUTER_API_KEY", CANARY)
    assert load_settings().server_host == "0.0.0.0"


@pytest.mark.parametrize(
    ("given", "provider", "configured"),
    [
        ({}, "anthropic", False),
        ({"ANTHROPIC_API_KEY": "a"}, "anthropic", True),
        ({"GEMINI_API_KEY": "g"}, "gemini", True),
        ({"ANTHROPIC_API_KEY": "a", "GEMINI_API_KEY": "g"}, "anthropic", True),
        ({"CLOUD_PROVIDER": "gemini", "ANTHROPIC_API_KEY": "a"}, "gemini", False),
        ({"CLOUD_PROVIDER": "anthropic", "GEMINI_API_KEY": "g"}, "anthropic", False),
    ],
)
def test_the_cloud_is_the_named_one_or_the_one_with_a_key(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], provider: str, configured: bool
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.provider, settings.cloud_configured) == (provider, configured)


def test_a_key_with_a_blank_and_keys_of_a_team_alone_are_warned_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant api03")
    monkeypatch.setenv("ROUTER_KEYS_FILE", str(tmp_path / "keys.toml"))
    blank, alone = load_settings().warnings
    assert blank.startswith("ANTHROPIC_API_KEY has a blank")
    assert alone.startswith("ROUTER_KEYS_FILE is set without ROUTER_API_KEY")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-api03")
    monkeypatch.setenv("ROUTER_API_KEY", "two words")
    assert load_settings().warnings == ()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "ANTHROPIC_API_KEY, GEMINI_API_KEY, or OPENAI_API_KEY and OPENAI_MODEL"),
        ({"OPENAI_API_KEY": "o"}, "OPENAI_MODEL"),
        ({"CLOUD_PROVIDER": "gemini", "ANTHROPIC_API_KEY": "a"}, "GEMINI_API_KEY"),
    ],
)
def test_what_a_cloud_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], missing: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load_settings().why_no_cloud.startswith(f"No cloud is configured: set {missing}, ")
    monkeypatch.setenv("OFFLINE", "true")
    assert load_settings().why_no_cloud.startswith("OFFLINE=true")


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://localhost:8080", None),
        ("http://127.0.0.1:8080/v1", None),
        ("http://[::1]:8080", None),
        ("http://localhost:9000", "http://localhost:9000"),
        ("https://gateway.lan:8080", "https://gateway.lan:8080"),
    ],
)
def test_the_routers_own_address_in_anthropic_base_url_is_ignored(
    monkeypatch: pytest.MonkeyPatch, url: str, asked: str | None
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    assert load_settings().claude_url == asked


def test_a_misspelled_setting_is_a_warning_and_other_names_are_not(
    tmp_path: Path,
) -> None:
    env = tmp_path / "my.env"
    env.write_text("COMPLEXITY_TRESHOLD=10\nserver_port=1\nMISTRAL_KEY=x\nHOST_PORT=2\n")
    env.chmod(0o600)
    assert load_settings(env).warnings == (
        f"{env}, line 1: COMPLEXITY_TRESHOLD is no setting. Is COMPLEXITY_THRESHOLD meant?",
    )
    assert load_settings(None).warnings == ()


def test_all_wrong_settings_are_named_at_once_with_file_line_and_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env = tmp_path / ".env"
    env.write_text("SERVER_PORT=many\n\nANTHROPIC_API_KEY='a\nb'\nCOLD_LOCAL=never\n")
    monkeypatch.setenv("JOURNAL_DAYS", "0")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    lines = str(caught.value).splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        *("COLD_LOCAL", "ANTHROPIC_API_KEY", "SERVER_PORT", "JOURNAL_DAYS"),
    ]
    cold, key, port, days = lines
    assert cold.endswith(f"(for example COLD_LOCAL=cloud), not 'never': {env}, line 5")
    assert key.startswith("ANTHROPIC_API_KEY must be a key, on one line")
    assert key.endswith(f": {env}, line 3")
    assert "'" not in key
    assert port.endswith(f", not 'many': {env}, line 1")
    assert days.endswith(", not '0'")


def test_the_first_contradiction_is_named_once_each_setting_can_be_used_by_itself() -> None:
    contradiction = {"offline": True, "local_base_url": "http://gpu.lan:1/v1"}
    another = {"cloud_provider": "openai"}
    with pytest.raises(SettingsError, match=r"^PRICES must be JSON .*$"):
        load_settings(None, prices="{bad", **contradiction)
    with pytest.raises(SettingsError, match=r"^OFFLINE=true keeps everything .*$"):
        load_settings(None, **contradiction, **another)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("server_port", "many", True),
        ("server_port", "70000", True),
        ("local_base_url", "localhost:1234", True),
        ("server_port", "sk-canary-4711", False),
        ("local_base_url", "http://me:secret@/v1", False),
        ("private_patterns", "falcon(", False),
        ("local_api_key", "x", False),
        ("cloud_provider", "a" * 41, False),
    ],
)
def test_a_value_that_may_be_secret_is_not_printed(name: str, value: str, shown: bool) -> None:
    assert config.may_be_shown(name, value) is shown


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^There is no file .*none\.env\.$"):
        load_settings(tmp_path / "none.env")


def test_no_key_is_ever_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ("LOCAL_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "ROUTER_API_KEY")
    for name in keys:
        monkeypatch.setenv(name, CANARY)
    settings = load_settings()
    assert settings.secrets == (CANARY,)
    assert CANARY not in f"{settings} {settings!r} {settings.model_dump()}"
    assert CANARY not in settings.model_dump_json()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://router:pass%2Fword%20canary@db.lan/router",
        "postgres://db.lan/router?user=router&password=pass%2Fword%20canary",
    ],
)
def test_the_password_of_the_database_is_a_secret_in_every_spelling(address: str) -> None:
    settings = load_settings(journal_url=address)
    assert "pass/word canary" in settings.secrets
    assert "canary" not in redact(f"{address} pass%2Fword%20canary", settings.secrets)
    assert settings.passwords == {"password in JOURNAL_URL": "pass/word canary"}
    assert "canary" not in f"{settings} {settings!r} {settings.model_dump()}"


def test_a_password_ends_where_postgresqls_own_library_ends_it() -> None:
    settings = load_settings(journal_url="postgresql://u:p#1?canary@db.lan/router")
    assert "p#1?canary" in settings.secrets


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("postgresql://u:p@localhost:5432/db", True),
        ("postgresql://u:p@127.0.0.1,[::1]:5433/db", True),
        ("postgresql:///db?host=/run/postgresql", True),
        ("postgresql://u@%2Frun%2Fpostgresql/db", True),
        ("postgresql://u:p@db.lan/db", False),
        ("postgresql://u:p@localhost,db.lan/db", False),
        ("postgresql:///db?host=10.0.0.7", False),
        ("postgresql:///db?hostaddr=::1", True),
        ("postgresql://localhost/db?hostaddr=::ffff:8.8.8.8", False),
        ("postgresql://localhost#@db.lan/db", False),
    ],
)
def test_offline_needs_the_journal_on_this_machine(address: str, is_here: bool) -> None:
    if is_here:
        assert load_settings(journal_url=address, offline=True).offline
        return
    with pytest.raises(SettingsError, match=r"OFFLINE=true .* JOURNAL_URL") as caught:
        load_settings(journal_url=address, offline=True)
    assert address not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://[canary",
        "canary",
        "mysql://db/canary",
        "postgresql://",
        "postgresql://u:1%zzcanary@db",
        "a b://canary",
    ],
)
def test_an_address_that_is_no_database_is_refused_without_being_shown(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^JOURNAL_URL must be the address of") as caught:
        load_settings(journal_url=address)
    assert "canary" not in str(caught.value)


def test_a_key_in_the_wrong_place_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVER_PORT", "LOCAL_BASE_URL", "CLOUD_PROVIDER"):
        monkeypatch.setenv(name, CANARY)
        with pytest.raises(SettingsError) as caught:
            load_settings()
        assert CANARY not in str(caught.value)
        monkeypatch.delenv(name)


def test_a_comma_in_the_bounds_of_a_pattern_does_not_split_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PRIVATE_PATTERNS", r"falcon, PRJ-\d{2,4} ,x{3,}y")
    assert load_settings().private_patterns == ("falcon", r"PRJ-\d{2,4}", "x{3,}y")


def test_a_command_with_a_wrong_setting_ends_with_status_2_and_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import config; config.settings_or_exit()"],
        cwd=EXAMPLE.parent,
        env={"SERVER_PORT": "many", "SYSTEMROOT": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("SERVER_PORT must be ")


def test_prices_of_the_user_are_read_as_json() -> None:
    prices = load_settings(prices='{"m": {"input": 3, "output": 15, "cached": 0.3}}').prices
    assert prices == {"m": {"input": 3, "output": 15, "cached": 0.3}}


@pytest.mark.parametrize(
    "written",
    [
        "3",
        '{"m": ',
        '{"m": {"input": 1}}',
        '{"m": {"input": -1, "output": 2}}',
        '{"m": {"input": Infinity, "output": 2}}',
        '{"m": {"in": 1, "output": 2}}',
    ],
)
def test_unusable_prices_are_refused_with_an_example(written: str) -> None:
    with pytest.raises(SettingsError, match=r"PRICES must be .*for example PRICES="):
        load_settings(prices=written)


def test_the_line_break_at_the_end_of_a_keys_file_is_not_part_of_the_key() -> None:
    key = load_settings(local_api_key="token\n").local_api_key
    assert key is not None
    assert key.get_secret_value() == "token"


def test_a_key_that_would_add_headers_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"LOCAL_API_KEY must be a key, on one line"):
        load_settings(local_api_key="token\r\nX-Evil: yes")
