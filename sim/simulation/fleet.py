"""Fleet: a scenario of several replicas behind a router, or of pools that work apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sim.engines.fleet import Autoscale, Disaggregation, Fleet, Pool
from sim.engines.serving.autoscaling import Autoscaler, Scaling
from sim.engines.serving.disaggregation import Transfer, serve_disaggregated
from sim.engines.serving.fleet import Crew, Trouble
from sim.engines.serving.outcome import Progress, Served, Watch, Window
from sim.errors import placing
from sim.mapping.transfer import cache_bytes
from sim.simulation.checks import Case, check_autoscale, check_pools, check_replicas
from sim.simulation.outcomes import FleetEvents, Outcomes, ReplicaGroup
from sim.simulation.prepare import Prepared, draft_of, prepare
from sim.simulation.serve import kind_of, requests_of, serve
from sim.workload.traffic import Closed


def served_by_pools(prepared: Prepared, *, on_progress: Progress | None = None) -> Outcomes:
    """What all replicas did, pool by pool, and what went on between them.

    Raises ConfigError for replicas that there aren't, Infeasible for a pool that can't run.
    """
    with placing(prepared.scenario.places):
        return _served(prepared, on_progress)


def _served(prepared: Prepared, on_progress: Progress | None) -> Outcomes:
    scenario = prepared.scenario
    check_pools(Case(scenario=scenario, graph=prepared.graph, requests=prepared.requests))
    if scenario.disaggregate is not None:
        return _disaggregated(prepared, scenario.disaggregate, on_progress)
    assert scenario.fleet is not None
    if isinstance(scenario.traffic, Closed) or prepared.requests.follows is not None:
        return _dealt_by_clients(prepared, scenario.fleet, on_progress)
    return _routed(prepared, scenario.fleet, on_progress)


def _prepared(prepared: Prepared, pool: Pool) -> Prepared:
    """The scenario on one system of `pool`."""
    scenario = prepared.scenario
    if pool == scenario.pools[0]:
        return prepared
    alone = replace(
        scenario,
        system=pool.system,
        parallel=pool.parallel,
        fleet=None,
        disaggregate=None,
        split=None,  # of the pool that decodes
    )
    return prepare(alone, within=pool.written)


def _replicas(pools: Sequence[Pool], ready: Sequence[Prepared]) -> list[int]:
    """Copies of the model in each pool."""
    return [pool.replicas * one.program.layout.dp for pool, one in zip(pools, ready, strict=True)]


def _groups(
    pools: Sequence[Pool], ready: Sequence[Prepared], served: Served, roles: Sequence[str]
) -> tuple[ReplicaGroup, ...]:
    ends = np.cumsum([0, *_replicas(pools, ready)])
    return tuple(
        ReplicaGroup(
            prepared=ready[index],
            systems=pool.replicas,
            outcomes=served.outcomes[ends[index] : ends[index + 1]],
            role=roles[index],
        )
        for index, pool in enumerate(pools)
    )


def _routed(prepared: Prepared, fleet: Fleet, on_progress: Progress | None) -> Outcomes:
    if fleet.autoscale is not None:
        return _autoscaled(prepared, fleet, fleet.autoscale, on_progress)
    ready = [_prepared(prepared, pool) for pool in fleet.pools]
    counts = _replicas(fleet.pools, ready)
    check_replicas(fleet, sum(counts))
    kinds = [kind_of(each) for each in ready]
    crew = Crew(
        kinds=kinds,
        counts=counts,
        requests=requests_of(prepared, kinds[0]),
        route=fleet.route,
        trouble=_trouble(prepared, fleet),
        watch=Watch(on_progress=on_progress),
    )
    served = crew.serve()
    return Outcomes(
        served=served,
        groups=_groups(fleet.pools, ready, served, [""] * len(ready)),
        fleet=FleetEvents(route=fleet.route, faults=crew.faults()),
    )


def _trouble(prepared: Prepared, fleet: Fleet) -> Trouble:
    return Trouble(
        outages=fleet.outages,
        breakdowns=fleet.breakdowns,
        slowdowns=fleet.slowdowns,
        seed=prepared.scenario.seed,
    )


def _autoscaled(
    prepared: Prepared, fleet: Fleet, rule: Autoscale, on_progress: Progress | None
) -> Outcomes:
    """A fleet whose replicas come and go; of each system one replica."""
    layout = prepared.program.layout
    check_autoscale(fleet, prepared.program.system.name, layout.dp)
    check_replicas(fleet, rule.most)
    if rule.load_B_per_s is not None:
        weights_B = prepared.budget.weights_B * layout.devices
        loading_s = weights_B / rule.load_B_per_s
        rule = replace(rule, start_up_s=rule.start_up_s + loading_s, load_B_per_s=None)
    kind, scaler = kind_of(prepared), Autoscaler(rule=rule)
    crew = Crew(
        kinds=[kind],
        counts=[rule.most],
        requests=requests_of(prepared, kind),
        route=fleet.route,
        trouble=_trouble(prepared, fleet),
        scaler=scaler,
        watch=Watch(on_progress=on_progress),
    )
    served, scaling = crew.serve(), scaler.scaling()
    (group,) = _groups(fleet.pools, [prepared], served, [""])
    if rule.least < rule.most:
        share = _on_share(scaling, served.window)
        group = replace(group, on_share=share, fewest=rule.least)
    return Outcomes(
        served=served,
        groups=(group,),
        fleet=FleetEvents(route=fleet.route, faults=crew.faults(), rule=rule, scaling=scaling),
    )


def _on_share(scaling: Scaling, window: Window) -> float:
    """Share of the time and of all replicas that replicas were on; 1 of no time at all."""
    on_s = scaling.on_s(window.from_s, window.until_s)
    span_s = window.until_s - window.from_s
    return float(on_s.sum()) / (len(on_s) * span_s) if span_s > 0.0 else 1.0


def _dealt_by_clients(prepared: Prepared, fleet: Fleet, on_progress: Progress | None) -> Outcomes:
    """Traffic that looks at answers: clients and sessions stay with a replica of the one pool."""
    (pool,) = fleet.pools
    served = serve(prepared, systems=pool.replicas, on_progress=on_progress)
    return Outcomes(
        served=served,
        groups=_groups(fleet.pools, [prepared], served, [""]),
        fleet=FleetEvents(route=fleet.route),
    )


def _disaggregated(
    prepared: Prepared, apart: Disaggregation, on_progress: Progress | None
) -> Outcomes:
    scenario = prepared.scenario
    pools = apart.prefill, apart.decode
    ready = [_prepared(prepared, pool) for pool in pools]
    prefill, decode = (kind_of(each) for each in ready)
    # what comes over the link is a request's own: there is nothing to share blocks with
    alone = replace(decode.scheduler, prefix_cache=False, kv_tiers=())
    decode = replace(decode, scheduler=alone)
    counts = _replicas(pools, ready)
    requests, draft = prepared.requests, draft_of(scenario)
    kept = replace(prepared.graph, ops=(*prepared.graph.ops, *(draft.ops if draft else ())))
    transfer = Transfer(
        prompt_B=cache_bytes(
            kept, scenario.precision, requests.input_tokens + prepared.extra_prompt
        ),
        layers=prepared.graph.layers,
        link=apart.link,
        overlap=apart.overlap,
    )
    served, transfers = serve_disaggregated(
        (prefill, counts[0]),
        (decode, counts[1]),
        requests_of(prepared, prefill),
        transfer,
        route=apart.route,
        watch=Watch(on_progress=on_progress),
    )
    joule_per_B = apart.link.energy_J_per_B
    size_B = float(transfers.size_B.sum())
    joules = math.nan if joule_per_B is None else joule_per_B * size_B
    window = served.window
    served = replace(
        served, window=replace(window, operator_joules=window.operator_joules + joules)
    )
    return Outcomes(
        served=served,
        groups=_groups(pools, ready, served, ("prefill", "decode")),
        fleet=FleetEvents(route=apart.route, transfers=transfers, transfer_J=joules),
    )
