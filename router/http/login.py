"""The login in an address, as a header sends it."""

import base64
from urllib.parse import SplitResult, unquote


def basic_login(address: SplitResult) -> str | None:
    """Return the header's value for the name and password of an address; None without a name."""
    if address.username is None:
        return None
    login = f"{unquote(address.username)}:{unquote(address.password or '')}"
    return f"Basic {base64.b64encode(login.encode()).decode()}"
