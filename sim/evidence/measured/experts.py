"""Mixtures of experts measured alone: aiconfigurator's and Frontier's tables of one layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from sim.dtypes import BITS
from sim.evidence.measured.expert_loads import busiest_rank
from sim.evidence.measured.formats import Unsupported
from sim.evidence.measured.operators import Floats, Opened, Rows, Timed, Work, known_format
from sim.graph import CAUSAL, Kind, Op
from sim.mapping.layout import Layout
from sim.mapping.parallelism import slice_of
from sim.workload.architecture import Experts
from sim.workload.layers.feed_forward import expert_layer


def expert_layers(opened: Opened) -> Iterator[Timed]:
    """Expert layers of the aiconfigurator database, on the busiest rank.

    Beside the products run kernels that `numbers` tells of, by what the library of a device and a
    number format doesn't fuse.
    """
    timed, numbers, device = Rows(), opened.form.numbers, opened.device
    kernels = device.processors[0].kernels
    older = numbers["unfused"]
    unfused = device.name in older["devices"] or (kernels and kernels.name in older["kernels"])
    for (dtype, hidden, inner, top_k, count, tp, ep, distribution), group in opened.groups(
        "dtype", "hidden", "inner", "top_k", "experts", "tp", "ep", "distribution"
    ):
        formats = known_format(str(dtype))
        if formats is None:
            continue
        gated = [int(hidden), int(inner)] not in numbers["ungated"]
        spec = Experts(count=int(count), top_k=int(top_k), intermediate=int(inner), gated=gated)
        try:
            seen = [
                busiest_rank(int(tokens), spec.count, spec.top_k, int(ep), str(distribution))
                for tokens in group["tokens"]
            ]
        except Unsupported:
            continue
        touched, load = np.array(seen).T
        experts = np.stack([touched * ep, touched, load], axis=1)
        tokens = group["tokens"].to_numpy(float)
        add = partial(timed.add, index=group.index.to_numpy(), formats=formats)
        for op in sliced_layer(spec, int(hidden), int(tp), int(ep)):
            if op.kind == Kind.EXPERTS:
                add(op, work=Work(tokens=tokens), experts=experts, expert_ranks=int(ep))
            else:  # of pairs, of which this rank has more; or of every token
                some = Work(tokens=tokens * (load if op.inputs else 1.0))
                add(op, work=some, formats=_wide(formats))
        if unfused and spec.count > older["experts"]:
            elements = 4.0 * older["launches"] * spec.count
            add(passes("picking", elements, older["launches"]), work=Work(tokens=tokens))
        if dtype in (blocks := numbers["blocks"])["formats"]:
            for elements in (hidden, inner / tp):
                op = passes("rounding", blocks["passes"] * top_k * elements / ep, 0)
                add(op, work=Work(tokens=tokens * load))
        if dtype in (triton := numbers["triton"])["formats"]:
            elements = triton["passes"] * top_k * hidden
            add(passes("sorting", elements, triton["launches"]), work=Work(tokens=tokens))
    yield Timed(rows=timed)


def _wide(formats: tuple[str, str, str]) -> tuple[str, str, str]:
    """Formats of what lies between products: 16 bits, whatever products read."""
    activations = formats[2] if BITS[formats[2]] >= 16.0 else "bf16"
    return formats[0], formats[1], activations


def passes(name: str, elements: float, launches: int) -> Op:
    """Small kernels beside the products, which read and write `elements` of 16 bits a token."""
    return Op(
        name=name, kind=Kind.VECTOR, operator_class="norm", inputs=elements, launches=launches
    )  # fmt: skip


def sliced_layer(spec: Experts, hidden: int, tp: int, ep: int) -> Iterator[Op]:
    """The routed experts' operators of one of tp x ep devices.

    Results are summed where they are: a rank reads those of its own pairs and writes every token's
    partial sum, which takes no launch of its own.
    """
    layout = Layout(tp=tp * ep, pp=1, ep=ep, dp=1)
    for op in expert_layer(spec, hidden, CAUSAL):
        if op.name == "experts_combine":
            yield replace(op, inputs=op.inputs / ep, outputs=0.0)
            yield replace(op, inputs=0.0, flops_per_token=0.0, launches=0.0)
        elif op.name.startswith("experts_"):
            yield slice_of(op, layout)


def expert_products(opened: Opened) -> Iterator[Timed]:
    """Expert products of Frontier's profile of vLLM: every token's experts are on the device.

    Adds column why.
    """
    timed, frame = Rows(), opened.frame
    for (dtype, here, top_k, hidden, inner, tp, distribution), group in opened.groups(
        "dtype", "experts", "top_k", "hidden", "inner", "tp", "distribution"
    ):
        formats = known_format(str(dtype))
        if formats is None or distribution != "uniform":
            continue
        spec = Experts(count=int(here), top_k=int(top_k), intermediate=int(inner))
        tokens = group["tokens"].to_numpy(float)
        touched: Floats = here * (1.0 - (1.0 - top_k / here) ** tokens)
        experts = np.stack([touched, touched, np.ones(len(group))], axis=1)
        for op in sliced_layer(spec, int(hidden), int(tp), 1):
            if op.name != "experts_combine":
                index = group.index.to_numpy()
                timed.add(op, index, Work(tokens=tokens), experts=experts, formats=formats)
    known = frame["distribution"] == "uniform"
    frame["why"] = ("number format " + frame["dtype"]).where(
        known, "distribution of experts' loads"
    )
    yield Timed(rows=timed)
