"""`llm-router keys`: what it prints, and what it refuses."""

from pathlib import Path

import pytest

from config import Settings
from llm_router import keys
from router.state.team import Team


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROUTER_KEYS_FILE", str(tmp_path / "keys.json"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = keys.main(arguments)
    out, error = capsys.readouterr()
    return status, out, error


def test_add_prints_the_key_alone_and_list_shows_everything_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, error = run(capsys, "add", "ana", "--budget", "2.5", "--sides", "cloud")
    key = out.strip()
    assert (status, error) == (0, "The key of ana; it is shown only now.\n")
    member = Team(tmp_path / "keys.json").member(key)
    assert member is not None
    assert member.name == "ana"
    run(capsys, "add", "a-longer-name")
    status, out, _ = run(capsys, "list")
    head, ana, other = out.splitlines()
    assert head.split() == ["name", "USD", "a", "day", "sides", "created"]
    assert ana.split() == ["ana", "2.5", "cloud", member.created]
    assert other.split()[1:3] == ["-", "local,cloud"]
    assert key not in out
    assert run(capsys, "revoke", "ana")[0] == 0
    assert "ana" not in run(capsys, "list")[1].split()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("revoke", "nobody"), "there is no such file"),
        (("add", "a b"), "name must be"),
    ],
)
def test_a_refused_action_prints_one_line_and_ends_with_status_1(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    status, out, error = run(capsys, *arguments)
    assert (status, out) == (1, "")
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [(), ("add",), ("add", "a", "--budget", "-1"), ("add", "a", "--sides", "moon")]
)
def test_a_wrong_command_line_ends_with_status_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as left:
        keys.main(arguments)
    assert left.value.code == 2
    assert "usage: llm-router keys" in capsys.readouterr().err


def test_another_file_is_named_with_its_setting(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    assert f"ROUTER_KEYS_FILE={other}" in run(capsys, "add", "ana", "--file", str(other))[2]
    assert Team(other).members[0].name == "ana"
    assert "ROUTER_KEYS_FILE" not in run(capsys, "revoke", "ana", "--file", str(other))[2]
