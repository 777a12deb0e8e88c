"""Collectives measured alone: NCCL and one-shot all-reduces of aiconfigurator, vidur's networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format, described, fold_of, rows
from sim.evidence.measured.named import device_in
from sim.evidence.measured.operators import Rows, built, grouped, known_format
from sim.evidence.measured.tables import Table
from sim.graph import Collective, Kind, Op
from sim.hardware import Device
from sim.hardware.kernels import Protocols
from sim.hardware.link import Link
from sim.operators import COMMUNICATION

Floats = npt.NDArray[np.float64]
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
NODE: Final = 8
"""GPUs of an SXM node, or of a PCIe server."""
RACK: Final = {"gb200": 72, "gb300": 72}
"""GPUs that share one NVLink domain where it isn't a node's."""
RDMA_EFFICIENCY: Final = 0.63
"""Share of a port's rate that one message reaches across vidur's nodes."""
RING_EFFICIENCY: Final = 0.48
"""And that a ring reaches, whose nodes send and receive at once and wait for each other."""
RING_WAIT: Final = 0.01
"""And how much longer each further step takes all of them."""
NETWORK_S: Final = 15e-6
"""A step of a collective across those nodes."""


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


CLUSTERS: Final = {
    "dgx": Cluster(port_B_per_s=12.5e9, few=2, ports=4),  # 100 Gbit/s ports
    "pairwise_nvlink": Cluster(port_B_per_s=4e9, paired=True, host_B_per_s=32e9),  # PCIe 4 x16
}


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


def predict_library(table: Table, constants: Constants) -> pd.DataFrame:
    """NCCL's collectives inside a node, in microseconds."""
    name = device_in(table, r"nccl_(.+)$")
    return _inside(table, name, without_shots(constants.device(name)))


def predict_shots(table: Table, constants: Constants) -> pd.DataFrame:
    """All-reduces as a serving engine does them, in one shot or by the library."""
    name = device_in(table, r"custom_allreduce_(.+?)(?:_trtllm|_vllm|_sglang)?$")
    return _inside(table, name, constants.device(name))


def _inside(table: Table, name: str, device: Device) -> pd.DataFrame:
    frame = table.frame
    most = RACK.get(name, NODE)
    timed = built(table, "collectives", lambda: _inside_rows(frame, most))
    seconds = _finite(timed, device, len(frame))

    def make() -> pd.DataFrame:
        kind, dtype = frame["op_name"].astype(str), frame["dtype"].astype(str)
        width = dtype.map(lambda each: 1.0 if each in ("int8", "fp8") else 2.0)
        message_B = frame["message_size"].to_numpy(float) * width.to_numpy(float)
        reason = np.where(
            frame["num_gpus"] > most,
            "a network that the table doesn't describe",
            "collective or number format unknown: " + kind + " of " + dtype,
        )
        return rows(
            frame["latency_us"],
            seconds * 1e6,
            device=name,
            phase=_phase(kind, message_B),
            dtype=dtype,
            reason=np.where(np.isfinite(seconds), "", reason),
            fold=fold_of(frame["message_size"].astype(str) + "|" + frame["num_gpus"].astype(str)),
        )

    return described(table, seconds * 1e6, make)


def _finite(timed: Rows, device: Device, count: int) -> Floats:
    """Seconds of rows; NaN where no link takes them."""
    seconds = timed.seconds(device, count, repeated=True)
    return np.where(np.isfinite(seconds), seconds, np.nan)


def _phase(kind: pd.Series, message_B: Floats) -> Floats:
    found: Floats = np.where(message_B > LONG_B, kind, kind + "-short")
    return found


def _inside_rows(frame: pd.DataFrame, most: int) -> Rows:
    timed = Rows()
    for (name, dtype, ranks), group in grouped(frame, ["op_name", "dtype", "num_gpus"]):
        kind, formats = NAMES.get(str(name)), known_format(str(dtype))
        if kind is not None and formats is not None and 1 < ranks <= most:
            op = collective(kind, int(ranks))
            timed.add(
                op, group.index.to_numpy(), tokens=group["message_size"], formats=formats
            )  # fmt: skip
    return timed


def predict_network(table: Table, constants: Constants) -> pd.DataFrame:
    """Vidur's collectives inside and across nodes, in milliseconds."""
    name = device_in(table, r"net_(?:all_reduce|send_recv)_([a-z0-9]+)_")
    device, frame = without_shots(constants.device(name)), table.frame
    operation = "send_recv" if "send_recv" in table.name else "all_reduce"
    cluster = next((CLUSTERS[each] for each in CLUSTERS if table.name.endswith(each)), None)
    seconds, ring = np.full(len(frame), np.nan), operation == "all_reduce"
    for (ranks, here), group in grouped(frame, ["num_workers", "devices_per_node"]):
        link = None
        if cluster is not None:
            link = link_of(device, cluster, int(ranks), int(here), ring=ring)
        if link is None:
            continue
        index = group.index.to_numpy()
        build = partial(_network_rows, group, operation, int(ranks))
        timed = built(table, f"{ranks} of {here}", build)
        seconds[index] = _finite(timed, replace(device, link=link), len(frame))[index]

    def make() -> pd.DataFrame:
        message_B = frame["size_bytes"].to_numpy(float)
        across = frame["num_workers"] > frame["devices_per_node"]
        kind = pd.Series(np.where(across, f"{operation}-network", operation))
        ranks = frame["num_workers"].astype(str) + "|" + frame["devices_per_node"].astype(str)
        return rows(
            frame["median_ms"],
            seconds * 1e3,
            device=name,
            phase=_phase(kind, message_B),
            dtype="fp16",
            reason=np.where(np.isfinite(seconds), "", "a cluster or link that isn't known"),
            fold=fold_of(frame["size_bytes"].astype(str) + "|" + ranks),
        )

    return described(table, seconds * 1e3, make)


def link_of(device: Device, cluster: Cluster, ranks: int, here: int, *, ring: bool) -> Link | None:
    """What the slowest step of a ring over `ranks` GPUs, `here` of a node, goes through.

    Across nodes one ring goes through all of them, as NCCL's do: so the table's single
    collective is timed on the ports of a node.
    """
    link = device.link
    if link is None:
        return None
    if ranks > here:
        ports = cluster.ports if here > cluster.few else 1
        waiting = 1.0 + RING_WAIT * 2.0 * (ranks - 1)
        return Link(
            name="network",
            bandwidth_B_per_s=cluster.port_B_per_s * ports,
            latency_s=NETWORK_S,
            collective="ring",
            efficiency=RING_EFFICIENCY / waiting if ring else RDMA_EFFICIENCY,
        )
    if cluster.paired and ranks > 2:
        return replace(link, bandwidth_B_per_s=cluster.host_B_per_s)
    if cluster.paired and link.protocols is not None:
        return replace(link, protocols=_cabled(link.protocols))
    return link


def _cabled(protocols: Protocols) -> Protocols:
    """Protocols between two GPUs with a cable and no switch: sends reach the link's bandwidth."""
    *short, last = protocols.send
    return replace(protocols, send=(*short, replace(last, share=1.0)))


def _network_rows(frame: pd.DataFrame, operation: str, ranks: int) -> Rows:
    timed = Rows()
    tokens = frame["size_bytes"].to_numpy(float) / 2.0
    timed.add(collective(NAMES[operation], ranks), frame.index.to_numpy(), tokens=tokens)
    return timed


FORMATS = (
    Format(
        family="collective",
        pattern=r"aic_kernels/nccl_.+",
        columns=("op_name", "dtype", "num_gpus", "message_size", "latency_us"),
        predict=predict_library,
        unit="us",
    ),
    Format(
        family="collective",
        pattern=r"aic_kernels/custom_allreduce_.+",
        columns=("op_name", "dtype", "num_gpus", "message_size", "latency_us"),
        predict=predict_shots,
        unit="us",
    ),
    Format(
        family="collective",
        pattern=r"vidur/net_(all_reduce|send_recv)_.+",
        columns=("num_workers", "devices_per_node", "size_bytes", "median_ms"),
        predict=predict_network,
        unit="ms",
    ),
)
