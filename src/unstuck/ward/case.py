"""A case of the ward: a host with nothing wrong, with a fault, or with two; and the same training without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, Literal

from unstuck.errors import InputError
from unstuck.ward import faults, healthy, hosts
from unstuck.ward.fault import Fault
from unstuck.ward.parts import Parts

Group = Literal["healthy", "faulty", "double"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run of the design, in plain values.

    Attributes:
        group: what is planted: nothing, one fault, or two.
        kinds: of the faults, or of being healthy.
        severities: one for each fault, None where it has no degrees.
        host: by its name.
        optimizer: by its name.
        seed: of the data, of the initialization, and of the diagnosis.
    """

    group: Group
    kinds: tuple[str, ...]
    severities: tuple[float | None, ...] = ()
    host: str
    optimizer: str
    seed: int

    @staticmethod
    def of(settings: Mapping[str, Any]) -> Case:
        """From JSON, where tuples have become lists.

        Raises:
            InputError: there is no such kind, or no such host.
        """
        case = Case(**{**settings, "kinds": tuple(settings["kinds"]), "severities": tuple(settings["severities"])})
        known = healthy.BY_KIND if case.group == "healthy" else faults.BY_KIND
        for kind in case.kinds:
            if kind not in known:
                raise InputError(f"the ward has no {kind!r} that is {case.group}; it has {', '.join(known)}")
        if case.host not in hosts.BY_NAME:
            raise InputError(f"the ward has no host {case.host!r}; it has {', '.join(hosts.BY_NAME)}")
        return case

    @property
    def name(self) -> str:
        """All of it in a line, by which it is known."""
        degrees = zip_longest(self.kinds, self.severities)
        planted = "+".join(kind if degree is None else f"{kind}:{degree:g}" for kind, degree in degrees)
        return f"{planted}/{self.host}/{self.optimizer}/{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"kinds": list(self.kinds), "severities": list(self.severities)}

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is planted."""
        return () if self.group == "healthy" else tuple(faults.BY_KIND[kind] for kind in self.kinds)

    @property
    def accepted(self) -> tuple[tuple[str, ...], ...]:
        """The right answers: for each fault those of which one has to be named."""
        return tuple(fault.accepted for fault in self.faults) or (("healthy",),)

    def parts(self) -> Parts:
        """The training as it is diagnosed."""
        parts = self._host()
        if self.group == "healthy":
            return healthy.BY_KIND[self.kinds[0]].make(parts)
        for fault, severity in zip(self.faults, self.severities, strict=True):
            parts = fault.planted(parts, severity)
        return parts

    def mended(self) -> Parts:
        """The training as it should have been."""
        parts = self._host()
        for fault, severity in zip(self.faults, self.severities, strict=True):
            parts = fault.as_it_should_be(parts, severity)
        return parts

    def _host(self) -> Parts:
        return hosts.BY_NAME[self.host].parts(self.optimizer, self.seed)
