"""The file with a team's keys: its content, and how a running server notices changes."""

import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from router.state import team
from router.state.team import BadKeysFile, Team, digest
from tests.support.clock import Clock

SHA = digest("a key")


def written(path: Path, *rows: Any) -> Path:
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keys.json"


def test_a_key_is_known_until_it_is_revoked(path: Path) -> None:
    ana = team.add(path, "ana", budget_usd_per_day=5, sides=("local",))
    ben = team.add(path, "ben", budget_usd_per_day=None, sides=team.SIDES)
    known = Team(path)
    member = known.member(ana)
    assert member is not None
    assert (member.name, member.budget_usd_per_day, member.sides) == ("ana", 5, ("local",))
    team.revoke(path, "ana")
    left = Team(path)
    assert left.member(ana) is None
    assert [one.name for one in left.members] == ["ben"]
    assert left.member(ben) is not None
    assert left.member(ben + "x") is None


def test_the_file_holds_no_key_and_is_readable_by_its_owner_only(path: Path) -> None:
    key = team.add(path, "ana", budget_usd_per_day=None, sides=team.SIDES)
    assert key not in path.read_text()
    assert digest(key) in path.read_text()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o640)
        team.add(path, "ben", budget_usd_per_day=None, sides=team.SIDES)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [one.name for one in path.parent.iterdir()] == ["keys.json"]


def test_a_name_has_one_key(path: Path) -> None:
    team.add(path, "ana", budget_usd_per_day=None, sides=team.SIDES)
    with pytest.raises(BadKeysFile, match="Revoke it first"):
        team.add(path, "ana", budget_usd_per_day=None, sides=team.SIDES)
    with pytest.raises(BadKeysFile, match="ben has no key"):
        team.revoke(path, "ben")


FAULTS: list[tuple[Any, str]] = [
    ({}, "is not a list"),
    ([1], "key 1: must be an object"),
    ([{"sha256": SHA}], "key 1: name must be"),
    ([{"name": "a b", "sha256": SHA}], "name must be"),
    ([{"name": "a", "sha256": "4711"}], "sha256 must be 64"),
    ([{"name": "a", "sha256": SHA, "budget_usd_per_day": -1}], "budget_usd_per_day must be"),
    ([{"name": "a", "sha256": SHA, "budget_usd_per_day": True}], "budget_usd_per_day must be"),
    ([{"name": "a", "sha256": SHA, "sides": []}], "sides must be"),
    ([{"name": "a", "sha256": SHA, "sides": ["moon"]}], "sides must be"),
    ([{"name": "a", "sha256": SHA, "sides": [["local"]]}], "sides must be"),
    ([{"name": "a", "sha256": SHA, "side": "local"}], "side is no field"),
    ([{"name": "a", "sha256": SHA}, {"name": "a", "sha256": SHA}], "a comes twice"),
]


@pytest.mark.parametrize(("content", "says"), FAULTS)
def test_an_unusable_file_is_refused_in_one_line(tmp_path: Path, content: Any, says: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadKeysFile) as caught:
        Team(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[", b"\xff\xfe\x00"])
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(BadKeysFile, match="is not JSON"):
        Team(path)


def test_a_missing_file_is_refused_with_the_command_that_makes_it(path: Path) -> None:
    with pytest.raises(BadKeysFile, match="llm-router keys add NAME --file"):
        Team(path)


def test_a_change_is_noticed_within_a_second(path: Path) -> None:
    ana = team.add(path, "ana", budget_usd_per_day=None, sides=team.SIDES)
    clock = Clock()
    known = Team(path, clock)
    ben = team.add(path, "ben", budget_usd_per_day=None, sides=team.SIDES)
    team.revoke(path, "ana")
    assert known.member(ana) is not None
    clock.now += team.RELOAD_S
    assert known.member(ana) is None
    assert known.member(ben) is not None


@pytest.mark.parametrize("content", [None, "[", '[{"name": "x"}]'])
def test_a_file_that_breaks_leaves_the_keys_as_they_were(
    path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    key = team.add(path, "ana", budget_usd_per_day=None, sides=team.SIDES)
    clock = Clock()
    known = Team(path, clock)
    path.unlink()
    if content is not None:
        path.write_text(content)
    for _ in range(3):
        clock.now += team.RELOAD_S
        assert known.member(key) is not None
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    path.write_text("[]")
    clock.now += team.RELOAD_S
    assert known.member(key) is None
