"""Fleets and disaggregated pools of a scenario: from their forms to values."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from sim.config.document import Document, value_at
from sim.config.fleet_form import DisaggregateForm, FleetForm, PoolForm, TransferForm
from sim.engines.fleet import Disaggregation, Fleet, Pool
from sim.errors import ConfigError, Key
from sim.hardware import Link, System

PoolOf = Callable[[PoolForm, Key], Pool]
"""The pool of a form at a path of the scenario: what is left out is the scenario's."""


def with_system(document: Document) -> Document:
    """`document` with the system of its pools as the scenario's, where it doesn't name one.

    That of the pool that decodes, or the first of a fleet.
    """
    data = document.data
    if not isinstance(data, dict) or "system" in data:
        return document
    for path in _pools(data):
        pool = value_at(data, path)
        if isinstance(pool, dict) and pool.get("system") is not None:
            at = (*path, "system")
            system = pool["system"]
            places = document.under(at).places if isinstance(system, dict) else document.place(at)
            return document.with_value(("system",), system, places)
    return document


def unused_system(document: Document) -> str | None:
    """What to say where the scenario's system is none of its pools'; None where it is one."""
    data = document.data
    pools = [value_at(data, path) for path in _pools(data)]
    named = [isinstance(pool, dict) and "system" in pool for pool in pools]
    if pools and all(named) and data["system"] not in [pool["system"] for pool in pools]:
        return "nothing runs on it: every pool names a system of its own; leave this one out"
    return None


def _pools(data: dict[str, Any]) -> list[Key]:
    """Paths of the pools, the one that stands for the scenario first."""
    apart, fleet = data.get("disaggregate"), data.get("fleet")
    if isinstance(apart, dict):
        return [("disaggregate", name) for name in ("decode", "prefill") if name in apart]
    if isinstance(fleet, list):
        return [("fleet", index) for index in range(len(fleet))]
    if isinstance(fleet, dict) and isinstance(fleet.get("pools"), list):
        return [("fleet", "pools", index) for index in range(len(fleet["pools"]))]
    return []


def fleet_of(form: FleetForm, document: Document, pool_of: PoolOf) -> Fleet:
    """The fleet that `form` describes."""
    paths, autoscale = _pools(document.data), form.autoscale
    if autoscale is not None and not {"start_up", "load"} & set(
        document.data["fleet"]["autoscale"]
    ):
        message = (
            "how long a replica takes to start is due: start_up: 60 s, or load: 5 GB/s, at which "
            "its weights come, or both"
        )
        raise ConfigError([document.problem(("fleet", "autoscale"), message)])
    replicas = form.replicas or (1 if autoscale is None else autoscale.most)
    pools = tuple(pool_of(pool, path) for pool, path in zip(form.pools, paths, strict=True))
    return Fleet(
        pools=pools or (pool_of(PoolForm(replicas=replicas), ()),),
        autoscale=autoscale,
        route=form.route,
        outages=form.failures.events,
        breakdowns=form.failures.breakdowns(),
        slowdowns=form.slowdown,
    )


def disaggregation_of(
    form: DisaggregateForm, document: Document, pool_of: PoolOf
) -> Disaggregation:
    """The two pools that `form` describes and the link between them."""
    prefill = pool_of(form.prefill, ("disaggregate", "prefill"))
    return Disaggregation(
        prefill=prefill,
        decode=pool_of(form.decode, ("disaggregate", "decode")),
        link=_link(form.link, document, prefill.system),
        overlap=form.overlap,
        route=form.route,
    )


def _link(form: str | TransferForm, document: Document, system: System) -> Link:
    """The link written out, or that of the prefill pool's system which is named."""
    if isinstance(form, TransferForm):
        return form.link()
    known: dict[str, Link] = {}
    for name, link in (("network", system.network), ("link", system.device.link)):
        if link is not None:
            known |= {name: link, link.name: link}
    if form in known:
        return known[form]
    near = get_close_matches(form, list(known), n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    has = f"it has {', '.join(known)}" if known else "it has none"
    raise ConfigError(
        [
            document.problem(
                ("disaggregate", "link"),
                f"{system.name} has no link '{form}'; {hint}{has}; or write one: "
                "{bandwidth: 50 GB/s, latency: 10 us}",
            )
        ]
    )
