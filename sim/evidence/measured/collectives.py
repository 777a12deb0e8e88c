"""Collectives measured alone: NCCL and one-shot all-reduces of aiconfigurator, vidur's networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import pandas as pd

from sim.evidence.measured.formats import text_of
from sim.evidence.measured.operators import Opened, Rows, Timed, Work, as_it_is, known_format
from sim.graph import Collective, Kind, Op
from sim.hardware import Device
from sim.hardware.link import Link
from sim.operators import COMMUNICATION

LONG_B: Final = 65536.0
"""Longer messages are scored apart from shorter ones: there bandwidth counts, not latency alone."""
NAMES: Final[Mapping[str, Collective]] = {
    "all_reduce": "all-reduce",
    "all_gather": "all-gather",
    "reduce_scatter": "all-gather",  # the same steps and bytes, the other way round
    "alltoall": "all-to-all",
    "all_to_all": "all-to-all",
    "send_recv": "send",
}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What vidur's tables don't say of a cluster: inferred from long messages of one way.

    `port_B_per_s` of a network port, of which nodes with up to `few` GPUs in use have one and
    others `ports`; `host_B_per_s` joins GPUs of a node that no NVLink joins, of which pairs have
    one where `paired`, without a switch between them.
    """

    port_B_per_s: float
    few: int = 8
    ports: int = 1
    paired: bool = False
    host_B_per_s: float = 0.0


def collective(kind: Collective, ranks: int) -> Op:
    """A collective of one element a token."""
    return Op(
        name=kind,
        kind=Kind.COLLECTIVE,
        operator_class=COMMUNICATION,
        message=1.0,
        collective=kind,
        group=ranks,
    )


def without_shots(device: Device) -> Device:
    """`device` where only the library reduces."""
    link = device.link
    if link is None or link.protocols is None:
        return device
    protocols = replace(link.protocols, shot=(), shot_B=0.0)
    return replace(device, link=replace(link, protocols=protocols))


def collectives(opened: Opened) -> Iterator[Timed]:
    """Collectives inside a node or rack, by the library alone or ("shots") as an engine does them.

    Adds columns phase, which tells long from short messages, and why.
    """
    frame, ranks_of = opened.frame, opened.form.numbers["ranks"]
    most = ranks_of.get(opened.device.name, ranks_of["other"])
    timed = Rows()
    for (name, dtype, ranks), group in opened.groups("operation", "dtype", "ranks"):
        kind, formats = NAMES.get(str(name)), known_format(str(dtype))
        if kind is not None and formats is not None and 1 < ranks <= most:
            op = collective(kind, int(ranks))
            timed.add(op, group.index.to_numpy(), Work(tokens=group["elements"]), formats=formats)
    width = np.where(frame["dtype"].isin(["int8", "fp8"]), 1.0, 2.0)
    frame["phase"] = _phase(frame["operation"].astype(str), frame["elements"] * width)
    frame["why"] = np.where(
        frame["ranks"] > most,
        "a network that the table doesn't describe",
        text_of("collective or number format unknown: {operation} of {dtype}", frame),
    )
    yield Timed(rows=timed, on=as_it_is if "shots" in frame else without_shots)


def _phase(kind: pd.Series, message_B: pd.Series) -> pd.Series:
    return kind.where(message_B > LONG_B, kind + "-short")


def network(opened: Opened) -> Iterator[Timed]:
    """Vidur's collectives of 16-bit numbers inside and across nodes of a `cluster`.

    Adds column phase, which tells networks from nodes and long from short messages.
    """
    frame, numbers = opened.frame, opened.form.numbers
    operation = str(frame["operation"].iloc[0])
    cluster = numbers["clusters"].get(str(frame["cluster"].iloc[0]))
    across = frame["ranks"] > frame["here"]
    kind = pd.Series(np.where(across, f"{operation}-network", operation), frame.index)
    frame["phase"] = _phase(kind, frame["bytes"].astype(float))
    for (ranks, here), group in opened.groups("ranks", "here"):
        if cluster is None or opened.device.link is None:
            return
        timed, tokens = Rows(), group["bytes"].to_numpy(float) / 2.0
        op = collective(NAMES[operation], int(ranks))
        timed.add(op, group.index.to_numpy(), Work(tokens=tokens))
        link = partial(
            _linked, cluster=Cluster(**cluster), ranks=int(ranks), here=int(here),
            network=numbers["network"], ring=operation == "all_reduce",
        )  # fmt: skip
        yield Timed(rows=timed, on=link)


def _linked(
    device: Device, *, cluster: Cluster, ranks: int, here: int, network: Mapping[str, float],
    ring: bool,
) -> Device:  # fmt: skip
    """`device` with what the slowest step of a ring over `ranks` GPUs, `here` of a node, takes.

    Across nodes one ring goes through all of them, as NCCL's do: so the table's single
    collective is timed on the ports of a node.
    """
    device = without_shots(device)
    link = device.link
    assert link is not None
    if ranks > here:
        ports = cluster.ports if here > cluster.few else 1
        waiting = 1.0 + network["ring_wait"] * 2.0 * (ranks - 1)
        link = Link(
            name="network",
            bandwidth_B_per_s=cluster.port_B_per_s * ports,
            latency_s=network["step_s"],
            collective="ring",
            efficiency=network["ring"] / waiting if ring else network["message"],
        )
    elif cluster.paired and ranks > 2:
        link = replace(link, bandwidth_B_per_s=cluster.host_B_per_s)
    elif cluster.paired and link.protocols is not None:
        # between two GPUs with a cable and no switch, sends reach the link's bandwidth
        *short, last = link.protocols.send
        send = (*short, replace(last, share=1.0))
        link = replace(link, protocols=replace(link.protocols, send=send))
    return replace(device, link=link)
