"""`llm-router service`: run the server in the background, from login on.

Linux gets a systemd user unit, macOS a launchd agent, Windows a task. `service_of()` returns the
file to write and the commands to run; it changes nothing itself.
"""

import argparse
import os
import platform
import plistlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import env_file
from config import settings_or_exit

NAME: Final = "llm-router"
LOG_LINES: Final = "200"

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The folder, the Python and the user of the server on this machine."""

    python: Path
    folder: Path
    """The working directory of the server."""
    home: Path
    config: Path
    """The folder of the user's configuration, on Linux `~/.config`."""
    env: Path | None = None
    """The .env file that the server reads; None: there is none."""
    user_id: int = 0
    stop_s: float = 20
    """Seconds that running answers may take to end."""

    @property
    def command(self) -> Command:
        """Return the command that starts the server."""
        options = ("--env-file", str(self.env)) if self.env else ()
        return (str(self.python), "-m", "llm_router", "serve", *options)


@dataclass(frozen=True, slots=True)
class Service:
    """The file of a service, and the commands of the system's manager for each action."""

    file: Path
    content: bytes
    install: tuple[Command, ...]
    status: Command
    logs: Command
    uninstall: tuple[Command, ...]
    before: tuple[Command, ...] = ()
    """Ends a running service; fails if there is none."""
    after: tuple[Command, ...] = ()
    """Commands to run after the file was removed."""
    log: Path | None = None
    """The file that the server logs to; None where the manager keeps the log."""
    hint: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out an action; returns the exit status."""
    options = _parser().parse_args(arguments)
    settings = settings_or_exit()
    is_clone = (env_file.PROGRAM / "pyproject.toml").exists()
    place = Place(
        python=Path(sys.executable),
        folder=env_file.PROGRAM if is_clone else Path.home(),
        home=Path.home(),
        config=env_file.user_file().parent.parent,
        env=settings.env_file.path.resolve() if settings.env_file else None,
        user_id=os.getuid() if hasattr(os, "getuid") else 0,
        stop_s=settings.shutdown_grace_s,
    )
    service = service_of(platform.system(), place)
    if options.dry_run:
        print(f"# {service.file}\n{_text(service)}")
        return 0
    return carry_out(options.action, service)


def service_of(system: str, place: Place) -> Service:
    """Return the service for "Linux", "Darwin" or "Windows"; other systems get systemd's too."""
    return {"Darwin": _launchd, "Windows": _windows}.get(system, _systemd)(place)


def carry_out(action: str, service: Service, run: Callable[[Command], int] | None = None) -> int:
    """Install, uninstall or look at a service; returns the exit status."""
    run = run or _run
    if action == "install":
        return _install(service, run)
    if not service.file.exists():
        print(f"There is no service: {service.file} does not exist.", file=sys.stderr)
        return 1
    if action == "uninstall":
        return _uninstall(service, run)
    return run(service.status if action == "status" else service.logs)


def _install(service: Service, run: Callable[[Command], int]) -> int:
    for file in (service.file, service.log):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
    for command in service.before if service.file.exists() else ():
        run(command)
    service.file.write_bytes(service.content)
    for command in service.install:
        if status := run(command):
            print(
                f"{service.file} is written, but this failed: {shlex.join(command)}",
                file=sys.stderr,
            )
            return status
    print(f"The server runs now and from every login on: {service.file}")
    if service.hint:
        print(service.hint)
    return 0


def _uninstall(service: Service, run: Callable[[Command], int]) -> int:
    for command in service.uninstall:
        run(command)  # it may have ended already
    service.file.unlink()
    for command in service.after:
        run(command)
    print(f"The service is removed: {service.file}")
    return 0


def _run(command: Command) -> int:
    try:
        return subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        print(
            f"{command[0]} is not on this machine. Have your system start this: llm-router serve",
            file=sys.stderr,
        )
        return 127


def _systemd(place: Place) -> Service:
    unit = f"{NAME}.service"
    control = ("systemctl", "--user")
    content = f"""\
[Unit]
Description=llm-router, local and cloud models at one address

[Service]
ExecStart={" ".join(_systemd_quoted(word) for word in place.command)}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={str(place.folder).replace("%", "%%")}
Restart=on-failure
RestartSec=2
TimeoutStopSec={place.stop_s + 10:g}

[Install]
WantedBy=default.target
"""
    return Service(
        place.config / "systemd" / "user" / unit,
        content.encode(),
        install=(
            (*control, "daemon-reload"),
            (*control, "enable", unit),
            (*control, "restart", unit),
        ),
        status=(*control, "status", "--no-pager", unit),
        logs=("journalctl", "--user", "--unit", unit, "--lines", LOG_LINES, "--no-pager"),
        uninstall=((*control, "disable", "--now", unit),),
        after=((*control, "daemon-reload"),),
        hint="To run it without a login too: loginctl enable-linger",
    )


def _systemd_quoted(word: str) -> str:
    """Return a word of ExecStart. Source: systemd.service(5), "Command lines"."""
    for sign, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(sign, escaped)
    return f'"{word}"'


def _launchd(place: Place) -> Service:
    domain = f"gui/{place.user_id}"
    log = place.home / "Library" / "Logs" / f"{NAME}.log"
    file = place.home / "Library" / "LaunchAgents" / f"{NAME}.plist"
    content = plistlib.dumps(
        {
            "Label": NAME,
            "ProgramArguments": list(place.command),
            "WorkingDirectory": str(place.folder),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ExitTimeOut": int(place.stop_s) + 10,
            "StandardOutPath": str(log),
            "StandardErrorPath": str(log),
        }
    )
    end = ("launchctl", "bootout", f"{domain}/{NAME}")
    return Service(
        file,
        content,
        install=(("launchctl", "bootstrap", domain, str(file)),),
        status=("launchctl", "print", f"{domain}/{NAME}"),
        logs=("tail", "-n", LOG_LINES, str(log)),
        uninstall=(end,),
        before=(end,),
        log=log,
    )


def _windows(place: Place) -> Service:
    folder = place.home / "AppData" / "Local" / NAME
    file, log = folder / "service.xml", folder / "service.log"
    command = subprocess.list2cmdline(place.command)
    content = f"""\
<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <Triggers><LogonTrigger><Enabled>true</Enabled></LogonTrigger></Triggers>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure><Interval>PT1M</Interval><Count>10</Count></RestartOnFailure>
  </Settings>
  <Actions>
    <Exec>
      <Command>cmd.exe</Command>
      <Arguments>{escape(f'/c "{command} >> "{log}" 2>&1"')}</Arguments>
      <WorkingDirectory>{escape(str(place.folder))}</WorkingDirectory>
    </Exec>
  </Actions>
</Task>
"""
    task = ("/TN", NAME)
    show = f"Get-Content -Tail {LOG_LINES} -LiteralPath '{str(log).replace(chr(39), chr(39) * 2)}'"
    return Service(
        file,
        content.encode("utf-16"),
        install=(
            ("schtasks", "/Create", *task, "/XML", str(file), "/F"),
            ("schtasks", "/Run", *task),
        ),
        status=("schtasks", "/Query", *task, "/V", "/FO", "LIST"),
        logs=("powershell", "-NoProfile", "-Command", show),
        uninstall=(("schtasks", "/End", *task), ("schtasks", "/Delete", *task, "/F")),
        before=(("schtasks", "/End", *task),),
        log=log,
    )


def _text(service: Service) -> str:
    is_utf_16 = service.content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return service.content.decode("utf-16" if is_utf_16 else "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llm-router service",
        description="Run the server in the background, from login on.",
    )
    parser.add_argument("action", choices=("install", "status", "logs", "uninstall"))
    parser.add_argument(
        "--dry-run", action="store_true", help="print the file of the service, change nothing"
    )
    return parser
