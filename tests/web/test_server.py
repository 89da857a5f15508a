"""The listening socket of the server."""

import socket

import pytest

from config import SettingsError
from web.serve import listen


def test_a_taken_port_is_named_in_the_error() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(SettingsError, match=r"in use.*running already.*SERVER_PORT"),
    ):
        listen("127.0.0.1", other.getsockname()[1])


@pytest.mark.parametrize("host", ["a..b", "192.0.2.1", "256.1.1.1", "::2"])
def test_a_foreign_address_is_named_in_the_error(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        listen(host, 8080)
    said = str(caught.value)
    assert said.startswith(f"SERVER_HOST={host} SERVER_PORT=8080: ")
    assert said.endswith("Set SERVER_HOST to an address of this machine.")
    assert "while attempting" not in said
