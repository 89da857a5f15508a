"""Addresses in settings: whether they are on this machine, and the passwords in them."""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

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
        for host in _database_parts(url)[1]:
            urlsplit(f"//{host}")
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
    """Return the machines that the address of a database names; none for a socket on this one."""
    url, listed = _database_parts(address)
    for name, value in parse_qsl(url.query):
        if name in ("host", "hostaddr"):
            listed += value.split(",")
    hosts = [unquote(urlsplit(f"//{one}").hostname or "") for one in listed]
    return [host for host in hosts if host and not host.startswith("/")]


def database_passwords(address: str) -> list[tuple[str, str]]:
    """Return the passwords in the address of a database, with their names: the one before the @,
    and those among its parameters."""
    url, _ = _database_parts(address)
    found = [("password", unquote(url.password or "")), *parse_qsl(url.query)]
    return [(name, value) for name, value in found if "password" in name and value]


def _database_parts(address: str) -> tuple[SplitResult, list[str]]:
    """Return the address without its hosts, and those, each with its port.

    `urlsplit` refuses several hosts of which one is an IPv6 address (Python 3.13).
    """
    scheme, separator, rest = address.partition("://")
    end = min(at if (at := rest.find(mark)) >= 0 else len(rest) for mark in "/?#")
    login, at_sign, hosts = rest[:end].rpartition("@")
    return urlsplit(f"{scheme}{separator}{login}{at_sign}{rest[end:]}"), hosts.split(",")
