"""What a server was told of a registry, checked before it starts, and what it will announce there once it answers calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from ...discovery.announcement import Announcement
from ...endpoints import checked, is_everywhere, port_of
from ...errors import UsageError
from ...protocol.messages import About
from ...transport.listening import InheritedSocket


class Registration(NamedTuple):
    """Where, as what, and at which endpoints: those of `advertise`, or what is bound where there are none."""

    url: str
    service: str
    advertise: tuple[str, ...]
    about: About
    backend: str

    @classmethod
    def asked_for(
        cls,
        register: str | None,
        service_name: str | None,
        advertise: str | Sequence[str] | None,
        service: str,
        bind: Sequence[str | InheritedSocket],
        about: About,
        backend: str,
    ) -> Self | None:
        """None where nobody asks for it. Raises UsageError for what cannot be announced."""
        if register is None:
            for option, given in (("service_name", service_name), ("advertise", advertise)):
                if given is not None:
                    raise UsageError(f"{option} is for a server that announces itself: give register too")
            return None
        if not isinstance(register, str) or "://" not in register:
            raise UsageError(
                f"register must be the URL of a registry, such as valkey://host:6379/0 or sqlite:///file.db, not {register!r}"
            )
        given = (advertise,) if isinstance(advertise, str) else tuple(advertise or ())
        bound = [place if isinstance(place, str) else place.endpoint for place in bind]
        for endpoint in given or bound:
            _check_reachable(checked(endpoint), given)
        ports = [port for endpoint in bound if (port := port_of(endpoint)) is not None]
        if "*" in map(port_of, given) and (len(set(ports)) != 1 or ports.count("*") > 1):
            raise UsageError(
                "port * in advertise is the one port that is bound: give its number where there are more, or none"
            )
        return cls(register, service if service_name is None else service_name, given, about, backend)

    def opened(self) -> Announcement:
        """What tells it. Raises UsageError for what is no registry."""
        return Announcement(
            self.url,
            self.service,
            role=self.about.role,
            zone=self.about.zone,
            weight=self.about.weight,
            backend=self.backend,
        )

    def endpoints(self, bound: Sequence[str]) -> list[str]:
        """Where clients reach it, of a server that is bound there."""
        port = next((port for endpoint in bound if (port := port_of(endpoint)) is not None), "")
        return [
            f"{endpoint[:-1]}{port}" if port_of(endpoint) == "*" else endpoint
            for endpoint in self.advertise or bound
        ]


def _check_reachable(endpoint: str, advertised: tuple[str, ...]) -> None:
    if endpoint.startswith("inproc://"):
        raise UsageError(f"{endpoint} cannot be announced: it is reached from within its own process alone")
    if is_everywhere(endpoint):
        if advertised:
            raise UsageError(f"{endpoint} cannot be announced: nobody can connect to all addresses at once")
        raise UsageError(
            f"{endpoint} is all addresses of this machine: say with advertise at which one clients reach it, "
            "such as tcp://10.0.0.7:*"
        )
