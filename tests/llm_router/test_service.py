"""`llm-router service`: the files that it writes, and the commands that it gives to the system."""

import plistlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llm_router.service import Command, Place, Service, carry_out, main, service_of

SYSTEMS = ("Linux", "Darwin", "Windows")
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / 'a folder of 100% "$5"'
    folder.mkdir()
    return Place(
        python=Path(sys.executable),
        folder=folder,
        home=tmp_path,
        config=tmp_path / ".config",
        env=folder / ".env",
        user_id=501,
    )


class Manager:
    """Stands in for systemctl, launchctl and schtasks; `failing` commands end with status 3."""

    def __init__(self, failing: str = "") -> None:
        self.commands: list[Command] = []
        self._failing = failing

    def __call__(self, command: Command) -> int:
        self.commands.append(command)
        return 3 if self._failing and self._failing in command else 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
@pytest.mark.parametrize("env", [True, False])
def test_systemd_accepts_the_unit(place: Place, tmp_path: Path, env: bool) -> None:
    service = service_of("Linux", place if env else replace(place, env=None))
    unit = tmp_path / service.file.name
    unit.write_bytes(service.content)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--user", unit],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert unit.name not in verified.stderr
    assert verified.returncode == 0, verified.stderr


def test_the_unit_quotes_its_command_and_restarts_after_a_crash(place: Place) -> None:
    lines = service_of("Linux", place).content.decode().splitlines()
    start = next(line for line in lines if line.startswith("ExecStart="))
    assert start.endswith(r'100%% \"$$5\"/.env"')
    assert "Restart=on-failure" in lines


def test_the_launchd_agent_starts_the_server_in_its_folder(place: Place) -> None:
    service = service_of("Darwin", place)
    agent = plistlib.loads(service.content)
    assert agent["ProgramArguments"] == list(place.command)
    assert agent["WorkingDirectory"] == str(place.folder)
    assert agent["StandardErrorPath"] == str(service.log)
    assert ("launchctl", "bootstrap", "gui/501", str(service.file)) in service.install


def test_the_windows_task_starts_at_logon_and_writes_a_log(place: Place) -> None:
    service = service_of("Windows", place)
    task = ElementTree.fromstring(service.content.decode("utf-16").partition("?>")[2])
    assert task.find(f".//{TASK}LogonTrigger") is not None
    arguments = task.findtext(f".//{TASK}Arguments") or ""
    assert "-m llm_router serve --env-file" in arguments
    assert f'>> "{service.log}"' in arguments
    assert task.findtext(f".//{TASK}WorkingDirectory") == str(place.folder)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_service_is_installed_again_shown_and_removed(place: Place, system: str) -> None:
    service = service_of(system, place)
    for commands in (service.install, (*service.before, *service.install)):
        manager = Manager()
        assert carry_out("install", service, manager) == 0
        assert tuple(manager.commands) == commands
        assert service.file.read_bytes() == service.content
    manager = Manager()
    assert carry_out("status", service, manager) == carry_out("logs", service, manager) == 0
    assert manager.commands == [service.status, service.logs]
    manager = Manager()
    assert carry_out("uninstall", service, manager) == 0
    assert tuple(manager.commands) == (*service.uninstall, *service.after)
    assert not service.file.exists()


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_manager_that_refuses_is_an_error_that_names_the_command(
    place: Place, system: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service = service_of(system, place)
    failing = service.install[-1]
    assert carry_out("install", service, Manager(failing[-1])) == 3
    assert failing[0] in capsys.readouterr().err


@pytest.mark.parametrize("action", ["status", "logs", "uninstall"])
def test_without_a_service_there_is_nothing_to_show_or_remove(
    place: Place, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = Manager()
    assert carry_out(action, service_of("Linux", place), manager) == 1
    assert not manager.commands
    assert "There is no service" in capsys.readouterr().err


def test_a_missing_manager_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    there = service_of("Linux", place)
    missing = replace(there, install=(("no-such-manager-here", "start"),))
    assert carry_out("install", missing) == 127
    assert "no-such-manager-here is not on this machine" in capsys.readouterr().err


def test_a_dry_run_prints_the_file_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert main(["install", "--dry-run"]) == 0
    assert "LaunchAgents" in capsys.readouterr().out
    assert not (tmp_path / "Library").exists()


def test_each_system_has_a_file_of_its_own(place: Place) -> None:
    services: list[Service] = [service_of(system, place) for system in SYSTEMS]
    assert len({service.file for service in services}) == len(SYSTEMS)
