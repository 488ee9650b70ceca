"""Hosts on one machine: each has a network of its own, and one cable to where the services are.

All of it lies in a network of the drill's own, which the machine's does not reach and which ends with the drill. Needs
Linux and root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from devstack.drill.stack import Stack
from devstack.processes import Child, StackError
from devstack.state import ROOT

_INSIDE = "DRILL_NETWORK"
_PORT = 8000
_SERVICES = ("DATABASE_URL", "REDIS_URL", "STORAGE_EMULATOR_HOST")


def enter() -> None:
    """Begin this program again in a network of its own; does nothing inside of it.

    Raises: StackError without root, or without the programs for it.
    """
    if os.environ.get(_INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    missing = [program for program in ("unshare", "nsenter", "ip") if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        raise StackError(
            f"Networks for two hosts need root and {', '.join(missing or ('unshare', 'nsenter', 'ip'))} "
            "(on Debian: apt install util-linux iproute2)."
        )
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable, "-m", "devstack.drill", *sys.argv[1:]])  # noqa: S606 - a list, no shell


@dataclass(frozen=True, slots=True)
class Host:
    """A network and a host name, held by a process that sleeps."""

    number: int
    holder: Child

    @property
    def url(self) -> str:
        return f"http://10.77.{self.number}.2:{_PORT}"

    def command(self, arguments: list[str]) -> list[str]:
        """What runs a Python module on this host."""
        pid = str(self.holder.process.pid)
        return ["nsenter", "--target", pid, "--net", "--uts", sys.executable, "-m", *arguments]

    def environment(self, stack: Stack) -> dict[str, str]:
        """The services by the cable's other end, and where to listen."""
        there = {name: _at(stack.environment[name], f"10.77.{self.number}.1") for name in _SERVICES}
        listening = f"10.77.{self.number}.2"
        return {**stack.environment, **there, "BIND": f"{listening}:{_PORT}", "ALLOWED_HOSTS": listening}

    def cut(self) -> None:
        """Pull the cable: whoever is connected hears nothing any more."""
        _ip("link", "set", f"host-{self.number}", "down")

    def join(self) -> None:
        _ip("link", "set", f"host-{self.number}", "up")


def host(stack: Stack, number: int) -> Host:
    """A host, joined to where the services are."""
    name, network = f"host-{number}", f"10.77.{number}"
    holder = stack.supervisor.start(
        name, ["unshare", "--net", "--uts", "sleep", "infinity"], env=dict(os.environ), cwd=ROOT, is_service=True
    )
    made = Host(number, holder)
    stack.supervisor.wait_until(lambda: _apart(holder.process.pid), holder, 10, f"{name}'s network")
    pid = str(holder.process.pid)
    _ip("link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", pid)
    _ip("addr", "add", f"{network}.1/24", "dev", name)
    _ip("link", "set", name, "up")
    inside = f"hostname {name} && ip addr add {network}.2/24 dev eth0 && ip link set eth0 up && ip link set lo up"
    subprocess.run(["nsenter", "--target", pid, "--net", "--uts", "sh", "-c", inside], check=True)
    ports = [str(urlsplit(stack.environment[variable]).port) for variable in _SERVICES]
    relay = [sys.executable, "-m", "devstack.drill.relay", f"{network}.1", *ports]
    stack.supervisor.start(f"relay-{number}", relay, env=dict(os.environ), cwd=ROOT, is_service=True)
    return made


def _apart(pid: int) -> bool:
    """Whether the process has left our network."""
    return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


def _at(url: str, address: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.replace("127.0.0.1", address)))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
