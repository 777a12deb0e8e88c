"""Fleets and disaggregated pools of a scenario: from their forms to values."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from sim.config.document import Document, value_at
from sim.config.fleet_form import AutoscaleForm, DisaggregateForm, FleetForm, PoolForm, TransferForm
from sim.config.split_form import link_of
from sim.engines.fleet import Autoscale, Breakdowns, Disaggregation, Fleet, Outage, Pool, Slowdown
from sim.errors import ConfigError, Key
from sim.hardware import Link, System
from sim.mapping.layout import Parallel

Path = Key
SystemAt = Callable[[Path], System]
"""The system written at a path of the scenario."""


def with_system(document: Document) -> Document:
    """`document` with the system of its pools as the scenario's, where it doesn't name one.

    That of the pool that decodes, or the first of a fleet.
    """
    data = document.data
    if not isinstance(data, dict) or "system" in data:
        return document
    for path in _pools(data):
        given = value_at(data, path)
        if isinstance(given, dict) and isinstance(given.get("system"), str | dict):
            at = (*path, "system")
            system = given["system"]
            if isinstance(system, dict):
                return document.with_value(("system",), system, document.under(at).places)
            return document.with_value(("system",), system, document.place(at))
    return document


def unused_system(document: Document) -> str | None:
    """What to say where the scenario's system is none of its pools'; None where it is one."""
    data = document.data
    pools = [value_at(data, path) for path in _pools(data)]
    named = [isinstance(each, dict) and "system" in each for each in pools]
    if pools and all(named) and data["system"] not in [each["system"] for each in pools]:
        return "nothing runs on it: every pool names a system of its own; leave this one out"
    return None


def _pools(data: dict[str, Any]) -> list[Path]:
    """Paths of the pools, the one that stands for the scenario first."""
    apart, fleet = data.get("disaggregate"), data.get("fleet")
    if isinstance(apart, dict):
        return [("disaggregate", name) for name in ("decode", "prefill") if name in apart]
    if isinstance(fleet, list):
        return [("fleet", index) for index in range(len(fleet))]
    if isinstance(fleet, dict) and isinstance(fleet.get("pools"), list):
        return [("fleet", "pools", index) for index in range(len(fleet["pools"]))]
    return []


def fleet_of(
    form: FleetForm, document: Document, whole: System, parallel: Parallel, system_at: SystemAt
) -> Fleet:
    """The fleet that `form` describes, its systems loaded; `whole` is the scenario's system."""
    listed = isinstance(document.data["fleet"], list)
    pools = tuple(
        _pool(
            pool, ("fleet", index) if listed else ("fleet", "pools", index), whole, parallel,
            system_at,
        )
        for index, pool in enumerate(form.pools)
    )  # fmt: skip
    failures = form.failures
    breakdowns = None
    if failures.mtbf is not None and failures.repair is not None:
        breakdowns = Breakdowns(mtbf_s=failures.mtbf.value, repair_s=failures.repair.value)
    scaled = form.autoscale
    replicas = form.replicas or (1 if scaled is None else scaled.max)
    return Fleet(
        pools=pools or (Pool(system=whole, replicas=replicas, parallel=parallel),),
        autoscale=None if scaled is None else _autoscale(scaled),
        route=form.route,
        outages=tuple(
            Outage(replica=each.replica, at_s=each.at.value, for_s=each.for_.value)
            for each in failures.events
        ),
        breakdowns=breakdowns,
        slowdowns=tuple(Slowdown(replica=e.replica, factor=e.factor) for e in form.slowdown),
    )


def _autoscale(form: AutoscaleForm) -> Autoscale:
    times = {
        "start_up_s": form.start_up,
        "load_B_per_s": form.load,
        "period_s": form.period,
        "stabilization_s": form.stabilization,
    }
    return Autoscale(
        least=form.min,
        most=form.max,
        target=form.target,
        tolerance=form.tolerance,
        **{name: given.value for name, given in times.items() if given is not None},
    )


def disaggregation_of(
    form: DisaggregateForm,
    document: Document,
    whole: System,
    parallel: Parallel,
    system_at: SystemAt,
) -> Disaggregation:
    """The two pools that `form` describes and the link between them."""
    prefill, decode = (
        _pool(pool, ("disaggregate", name), whole, parallel, system_at)
        for name, pool in (("prefill", form.prefill), ("decode", form.decode))
    )
    return Disaggregation(
        prefill=prefill,
        decode=decode,
        link=_link(form.link, document, prefill.system),
        overlap=form.overlap,
        route=form.route,
    )


def _pool(
    form: PoolForm, path: Path, whole: System, parallel: Parallel, system_at: SystemAt
) -> Pool:
    own = form.parallel
    return Pool(
        system=whole if form.system is None else system_at((*path, "system")),
        replicas=form.replicas,
        parallel=parallel if own is None else own.value(),
        written=path,
    )


def _link(form: str | TransferForm, document: Document, system: System) -> Link:
    """The link written out, or that of the prefill pool's system which is named."""
    if isinstance(form, TransferForm):
        return link_of(form)
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
