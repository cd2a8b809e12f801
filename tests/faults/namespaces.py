"""A network namespace for a server: packets to and from it can be dropped, and nobody is told."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Self

# The address of no interface: frames for it reach nobody.
NOBODY = "02:00:00:00:00:99"


def missing() -> str:
    """What a namespace needs and this process does not have; nothing, where it has all."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "the right to make network namespaces: root"
    if shutil.which("ip") is None:
        return "the command ip, of iproute2"
    done = subprocess.run(
        ["ip", "netns", "add", _name()], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return f"network namespaces: {done.stderr.strip()}"
    _ip("netns", "del", _name())
    return ""


class Namespace:
    """`here` and `there` are the addresses of its two ends; `words` run a command inside."""

    def __init__(self) -> None:
        name = _name()
        self.words = ("ip", "netns", "exec", name)
        self._inside = ("-n", name)
        net = f"10.203.{os.getpid() % 250}"
        self.here, self.there = f"{net}.1", f"{net}.2"
        self._near, self._far = f"{name}a", f"{name}b"
        _ip("netns", "add", name)
        try:
            _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", name)
            _ip("addr", "add", f"{self.here}/30", "dev", self._near)
            _ip(*self._inside, "addr", "add", f"{self.there}/30", "dev", self._far)
            _ip("link", "set", self._near, "up")
            _ip(*self._inside, "link", "set", self._far, "up")
            self._hardware = {
                self.there: _hardware(*self._inside, "link", "show", self._far),
                self.here: _hardware("link", "show", self._near),
            }
            self.deliver()
        except BaseException:
            self.close()
            raise

    def drop(self) -> None:
        """From now on no packet arrives, in either direction."""
        self._neighbours(dict.fromkeys(self._hardware, NOBODY))

    def deliver(self) -> None:
        """From now on packets arrive."""
        self._neighbours(self._hardware)

    def _neighbours(self, hardware: dict[str, str]) -> None:
        for words, address, device in (
            ((), self.there, self._near),
            (self._inside, self.here, self._far),
        ):
            to = ("lladdr", hardware[address], "dev", device, "nud", "permanent")
            _ip(*words, "neigh", "replace", address, *to)

    def close(self) -> None:
        _ip("netns", "del", _name())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _name() -> str:
    return f"rb{os.getpid()}"


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def _hardware(*words: str) -> str:
    found = re.search(r"link/ether (\S+)", _ip(*words))
    assert found is not None
    return found[1]
