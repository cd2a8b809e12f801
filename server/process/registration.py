"""The registration of a server: its options, checked before the start, and its announcement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from ...discovery.announcement import Announcement
from ...endpoints import checked, is_everywhere, port_of
from ...errors import UsageError
from ...protocol.messages import About
from ...transport.listening import InheritedSocket


class Registration(NamedTuple):
    """The registry, the service name, and the endpoints to announce.

    The endpoints are those of `advertise`, or the bound ones if it is empty.
    """

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
        """The registration from a server's options, or None. Raises UsageError for bad options."""
        if register is None:
            for option, given in (("service_name", service_name), ("advertise", advertise)):
                if given is not None:
                    raise UsageError(
                        f"{option} is for a server that announces itself: give register too"
                    )
            return None
        if not isinstance(register, str) or "://" not in register:
            raise UsageError(
                "register must be the URL of a registry, such as valkey://host:6379/0 or "
                f"sqlite:///file.db, not {register!r}"
            )
        given = (advertise,) if isinstance(advertise, str) else tuple(advertise or ())
        bound = [place if isinstance(place, str) else place.endpoint for place in bind]
        for endpoint in given or bound:
            _check_reachable(checked(endpoint), given)
        ports = [port for endpoint in bound if (port := port_of(endpoint)) is not None]
        if "*" in map(port_of, given) and (len(set(ports)) != 1 or ports.count("*") > 1):
            raise UsageError(
                "port * in advertise needs exactly one bound port: give a port number instead"
            )
        return cls(
            register, service if service_name is None else service_name, given, about, backend
        )

    def opened(self) -> Announcement:
        """Open the registry. Raises UsageError if the URL is not a registry."""
        return Announcement(
            self.url,
            self.service,
            role=self.about.role,
            zone=self.about.zone,
            weight=self.about.weight,
            backend=self.backend,
        )

    def endpoints(self, bound: Sequence[str]) -> list[str]:
        """The endpoints to announce, for these bound endpoints."""
        port = next((port for endpoint in bound if (port := port_of(endpoint)) is not None), "")
        return [
            f"{endpoint[:-1]}{port}" if port_of(endpoint) == "*" else endpoint
            for endpoint in self.advertise or bound
        ]


def _check_reachable(endpoint: str, advertised: tuple[str, ...]) -> None:
    if endpoint.startswith("inproc://"):
        raise UsageError(f"{endpoint} cannot be announced: only its own process can reach it")
    if is_everywhere(endpoint):
        if advertised:
            raise UsageError(
                f"{endpoint} cannot be announced: it is all addresses, and clients need one"
            )
        raise UsageError(
            f"{endpoint} is all addresses of this machine: set advertise to the one that clients "
            f"reach, "
            "such as tcp://10.0.0.7:*"
        )
