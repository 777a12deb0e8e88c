"""Closed form: the time and energy of one iteration, of a request alone, and of design points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.kernel import laws, serving
from sim.kernel.records import COMPUTE_J
from sim.mapping.program import Program

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one iteration works on.

    `prompts` are (input, begin, tokens): prompt tokens [begin, begin + tokens) of `input`;
    `decodes` are (input, generated): sequences that get one more token.
    """

    prompts: tuple[tuple[int, int, int], ...] = ()
    decodes: tuple[tuple[int, int], ...] = ()


def decode_batch(sequences: int, context: int) -> Batch:
    """`sequences` equal sequences decoding with `context` cached tokens, the newest included."""
    return Batch(decodes=((context - 1, 1),) * sequences)


def prefill_batch(sequences: int, tokens: int) -> Batch:
    """`sequences` whole prompts of `tokens` tokens."""
    return Batch(prompts=((tokens, 0, tokens),) * sequences)


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One iteration. Rows follow `program.table.graph.ops`.

    `rows` [ops, 5]: seconds of all layers, of that launch overhead, joules of compute, memory and
    link on one device; `chosen` [ops, 2]: processor (-1: a link) and bound.
    """

    seconds: float
    joules: float
    microbatches: float
    features: Floats
    experts: Floats
    rows: Floats
    chosen: Ints


def features_of(program: Program, batch: Batch) -> tuple[Floats, float]:
    """Features [stream, phase, feature] of one microbatch of `batch`, and how many there are."""
    features = np.zeros((len(program.streams), 4, 4))
    for prompt, begin, tokens in batch.prompts:
        serving.add_prefill(program.streams, features, prompt, begin, tokens, prompt)
    for prompt, generated in batch.decodes:
        serving.add_decode(program.streams, features, prompt, prompt + generated)
    sequences = float(len(batch.prompts) + len(batch.decodes))
    parts = serving.microbatches(program.machine[0], sequences)
    return features / parts, parts


def step(program: Program, batch: Batch) -> Step:
    """One iteration of `batch` by one replica of `program`."""
    features, parts = features_of(program, batch)
    return step_of_features(program, features, parts)


def step_of_features(program: Program, features: Floats, microbatches: float) -> Step:
    """One iteration whose microbatches have these features."""
    operators = len(program.table.records)
    rows = np.zeros((operators, 5))
    chosen = np.zeros((operators, 2), np.int64)
    experts = np.ones((len(program.streams), 3))
    laws.expert_features(features, program.coverage, experts)
    passed = laws.evaluate(
        program.table.records, features, experts, program.units, program.links, rows, chosen
    )
    machine = program.machine[0]
    seconds = laws.step_time(passed, microbatches, machine)
    joules = laws.step_energy(float(rows[:, COMPUTE_J:].sum()), seconds, microbatches, machine)
    return Step(
        seconds=seconds,
        joules=joules,
        microbatches=microbatches,
        features=features,
        experts=experts,
        rows=rows,
        chosen=chosen,
    )


def request_times(program: Program, prompt: int, output: int) -> Floats:
    """Seconds from arrival to each output token of a request served alone; shape [output]."""
    times = [step(program, prefill_batch(1, prompt)).seconds]
    times += [
        step(program, Batch(decodes=((prompt, generated),))).seconds
        for generated in range(1, output)
    ]
    return np.cumsum(times)


def sweep(
    program: Program,
    batches: Iterable[Batch],
    units: npt.NDArray[np.void],
    links: npt.NDArray[np.void],
    machines: npt.NDArray[np.void],
) -> Floats:
    """Seconds and joules of one iteration at every design point; shape [points, 2].

    `units` [points, processors], `links` [points, 2] and `machines` [points] are the program's own
    records with other numbers in them; `batches` is one batch for all points or one for each.
    """
    built = [features_of(program, batch) for batch in batches]
    features = np.stack([own for own, _ in built])
    microbatches = np.array([parts for _, parts in built])
    experts = np.ones((len(built), len(program.streams), 3))
    for index in range(len(built)):
        laws.expert_features(features[index], program.coverage, experts[index])
    out = np.empty((len(machines), 2))
    laws.sweep(program.table.records, features, experts, microbatches, units, links, machines, out)
    return out
