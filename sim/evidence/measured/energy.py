"""Energy of servers: joules a token and watts that their devices draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from sim.engines.serving import Kind, Requests, serve_closed, serve_trace
from sim.engines.serving.outcome import Served
from sim.evidence.measured.lookups import Row
from sim.evidence.measured.servers import Server, Servers, deployment_of
from sim.evidence.measured.spellings import spellings
from sim.hardware import Device
from sim.hardware.records import fill_machine, processor_records
from sim.mapping.program import Program
from sim.results.measurement import Measurement
from sim.results.statistics import spread
from sim.scenario import Slo
from sim.simulation.outcomes import Outcomes
from sim.workload.traffic import Closed, Constant, Trace

ENERGIES: Final = ("J_per_flop", "weights_J_per_B", "kv_J_per_B", "activations_J_per_B")


def family_of(model: str) -> int:
    """Which of the parts a model is left out with: that of its family, or of all others."""
    name, families = model.split("/")[-1].lower(), spellings("models")["families"]
    return next((n for n, each in enumerate(families) if name.startswith(each)), len(families))


def server_of(servers: Servers, row: Row) -> Server:
    """The server with the energies that the constants of `servers` say now.

    A fit tries energies on servers that are prepared already: their times stay.
    """
    deployment = deployment_of(row)
    server, device = servers(deployment), servers.constants.device(deployment.device)
    return replace(server, program=with_energies(server.program, device), known={})


def with_energies(program: Program, device: Device) -> Program:
    """`program` with energies and static power of `device`, whose times it keeps."""
    units, machine, powered = program.units.copy(), program.machine.copy(), program.machine.copy()
    records = processor_records(device)
    for name in ENERGIES:
        units[name] = records[name]
    fill_machine(powered, device)
    machine["static_W"], machine["limit_W"] = powered["static_W"], powered["limit_W"]
    return replace(program, units=units, machine=machine)


def metered(server: Server, served: Served) -> dict[str, float]:
    """Watts of all devices and joules a generated token, from what the engine counted."""
    window, machine = served.window, server.program.machine[0]
    seconds = window.until_s - window.from_s
    static_W = float(machine["static_W"] * machine["devices"])
    joules = window.operator_joules + static_W * seconds
    return {"power": joules / seconds, "energy": joules / window.generated_tokens}


def steady_energy(servers: Servers, row: Row, _numbers: Mapping[str, Any]) -> Mapping[str, float]:
    """As many clients as ran on average, from requests at any progress, for one turn of each."""
    server = server_of(servers, row)
    count, length = max(round(float(row["batch"])), 1), Constant(tokens=1)
    loop = Closed(concurrency=count, requests=count, input=length, output=length, start="steady")
    kind = Kind(program=server.program, scheduler=server.scheduler, kv_B=server.kv_B)
    sent = _alike(2 * count, int(row["prompt"]), round(float(row["output"])))
    served = serve_closed(kind, Requests.of(kind, sent), loop)
    requests = served.outcomes[0].requests
    outcomes = Outcomes(served=served, groups=())
    gap_s = spread(*Measurement(outcomes=outcomes, requests=requests, slo=Slo()).gaps)["p50"]
    assert gap_s is not None
    return {**metered(server, served), "itl": gap_s}


def batch_energy(servers: Servers, row: Row, _numbers: Mapping[str, Any]) -> Mapping[str, float]:
    """Requests that start together: seconds, watts and their share of the rated power.

    Joules are of a token of prompt and answer.
    """
    server = server_of(servers, row)
    count, prompt, output = int(row["batch"]), int(row["prompt"]), int(row["output"])
    kind = Kind(program=server.program, scheduler=server.scheduler, kv_B=server.kv_B)
    served = serve_trace(kind, Requests.of(kind, _alike(count, prompt, output)))
    power, machine = metered(server, served)["power"], server.program.machine[0]
    seconds = served.window.until_s - served.window.from_s
    return {
        "latency": seconds,
        "power": power,
        "energy": power * seconds / (count * (prompt + output)),
        "power-share": power / float(machine["limit_W"] * machine["devices"]),
    }


def _alike(count: int, prompt: int, output: int) -> Trace:
    """Equal requests, all there at once."""
    return Trace(
        name="measured", arrival_s=np.zeros(count), input_tokens=np.full(count, prompt),
        output_tokens=np.full(count, output),
    )  # fmt: skip
