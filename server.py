"""Starts the server: `python server.py`. web/app.py has its routes."""

import logging

from config import bad_settings_exit, settings_or_exit
from router.privacy.redact import RedactingFilter
from web.app import create_app
from web.serve import check_local_url, listen, serve, url_of

log = logging.getLogger("router")


def main() -> None:
    """Start the server, or say in one line why it cannot start."""
    settings = settings_or_exit()
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter(settings.secrets))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=[handler]
    )
    for chatty in ("httpx2", "httpcore2", "google_genai", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with bad_settings_exit():
        check_local_url(settings)
        app = create_app(settings)
        listener = listen(settings.server_host, settings.server_port)
    log.info("%s; for clients: %s/v1", url_of(settings), url_of(settings))
    serve(app, settings, listener)


if __name__ == "__main__":
    main()
