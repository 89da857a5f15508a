"""The command line of the server.

    server.py                            start it, as .env and the environment say
    server.py --port 9000 --host ::1     listen elsewhere
    server.py --log-format json          for a log collector
    server.py --env-file work.env        read the settings from this file

Exit status: 0 after a stop, 2 for unusable options or settings.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config import VERSION, bad_settings_exit, colours_wanted, settings_or_exit
from web.app import create_app
from web.logs import set_up_logging
from web.readiness import Readiness
from web.reload import Source, check_local_url
from web.serve import listen, serve, url_of

log = logging.getLogger("router")


def main(arguments: Sequence[str] | None = None, prog: str = "server.py") -> int:
    """Run the server until a signal stops it; returns the exit status."""
    options = _parser(prog).parse_args(arguments)
    given: dict[str, Any] = {"server_host": options.host, "server_port": options.port}
    overrides = {name: value for name, value in given.items() if value is not None}
    source = Source(options.env_file or "find", overrides)
    settings = settings_or_exit(source.env, **overrides)
    source.hide = set_up_logging(
        options.log_format, settings.secrets, colours=colours_wanted()
    ).hide
    with bad_settings_exit():
        check_local_url(settings)
        readiness = Readiness()
        app = create_app(settings, readiness=readiness, source=source)
        listener = listen(settings.server_host, settings.server_port)
    log.info("%s; for clients: %s/v1", url_of(settings), url_of(settings))
    serve(app, settings, listener, readiness)
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Start the server. Options win over the environment, which wins over .env.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"llm-router {VERSION}")
    parser.add_argument("--host", help="address to listen on (SERVER_HOST)")
    parser.add_argument("--port", help="port to listen on (SERVER_PORT)")
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="text, coloured on a terminal (the default), or one JSON object a line",
    )
    parser.add_argument(
        "--env-file", type=Path, metavar="FILE", help="read the settings from this file, not .env"
    )
    return parser
