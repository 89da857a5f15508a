"""Addresses in settings: whether they are on this machine, and the passwords in them."""

import ipaddress
import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

STORES: Final = ("valkey", "redis", "valkeys", "rediss")
"""Schemes of STATE_URL; the last two mean TLS."""
THIS_MACHINE: Final = ("localhost", "host.docker.internal", "host.containers.internal")
"""Host names of this machine; containers know it by the last two."""
DATABASE: Final = re.compile(r"postgres(?:ql)?://(?:[^%\s]|%[0-9A-Fa-f]{2})+")


def is_this_machine(url: str) -> bool:
    """Return whether the host of an address is this machine."""
    return is_here(urlsplit(url).hostname or "")


def is_here(host: str) -> bool:
    """Return whether a host name or IP address is that of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in THIS_MACHINE or host.endswith(".localhost")


def is_database(url: str) -> bool:
    """Return whether this is the address of a PostgreSQL database."""
    try:
        database_hosts(url)
    except ValueError:
        return False
    return DATABASE.fullmatch(url) is not None


def is_store(address: str) -> bool:
    """Return whether this is the address of a Valkey or Redis server."""
    try:
        url = urlsplit(address)
        is_right = url.scheme in STORES and bool(url.hostname) and url.port != 0
        return is_right and re.fullmatch(r"/?[0-9]*", url.path) is not None
    except ValueError:
        return False


def database_hosts(address: str) -> list[str]:
    """Return the machines that the address of a database names; none for a socket on this one.

    Raises ValueError for a malformed IPv6 address.
    """
    _, listed, parameters = _database_parts(address)
    hosts = [unquote(urlsplit(f"//{one}").hostname or "") for one in listed.split(",")]
    for name, value in parameters:
        if name in ("host", "hostaddr"):
            hosts += value.split(",")
    return [host for host in hosts if host and not host.startswith("/")]


def database_passwords(address: str) -> list[tuple[str, str]]:
    """Return the passwords in the address of a database, with their names: the one before the @,
    and those among its parameters."""
    login, _, parameters = _database_parts(address)
    found = [("password", unquote(login.partition(":")[2])), *parameters]
    return [(name, value) for name, value in found if "password" in name and value]


def _database_parts(address: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Return the login, the hosts with their ports, and the parameters, as libpq splits them.

    `urlsplit` ends the login elsewhere, and Python 3.13 refuses several hosts with an IPv6 address
    among them. Source: PostgreSQL documentation, "Connection URIs"; fe-connect.c.
    """
    rest = address.partition("://")[2]
    login, at_sign, behind = rest.partition("@")
    if not at_sign or "/" in login:
        login, behind = "", rest
    hosts = re.split("[/?]", behind, maxsplit=1)[0]
    return login, hosts, parse_qsl(behind.partition("?")[2])
