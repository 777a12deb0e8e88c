"""Closed form: the time and energy of one iteration, of a request alone, and of design points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sim.graph import OpTable
from sim.kernel import iteration, passes, sequences, sweeping
from sim.kernel.experts import expert_features
from sim.kernel.records import BUSY_S, JOULES, ROW_COLUMNS, SECONDS, Pass
from sim.mapping.program import Program

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one iteration works on.

    `prompts` are (input, begin, tokens): prompt tokens [begin, begin + tokens) of `input`;
    `decodes` are (input, generated): sequences that get one more token, or with speculation as
    many as are accepted; prompts then come in other iterations.
    """

    prompts: tuple[tuple[int, int, int], ...] = ()
    decodes: tuple[tuple[int, int], ...] = ()

    @property
    def sequences(self) -> int:
        """How many sequences it works on."""
        return len(self.prompts) + len(self.decodes)


def decode_batch(sequences: int, context: int) -> Batch:
    """`sequences` equal sequences decoding with `context` cached tokens, the newest included."""
    return Batch(decodes=((context - 1, 1),) * sequences)


def prefill_batch(sequences: int, tokens: int) -> Batch:
    """`sequences` whole prompts of `tokens` tokens."""
    return Batch(prompts=((tokens, 0, tokens),) * sequences)


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One iteration. Rows follow `program.table.graph.ops`.

    `rows` [ops, columns] as `records` names them, of the `shares` [ops] of layers that it passes
    and one device; `chosen` [ops, 2]: processor (-1: a link) and bound.
    """

    seconds: float
    host_s: float
    joules: float
    microbatches: float
    shares: Floats
    features: Floats
    experts: Floats
    rows: Floats
    chosen: Ints


def features_of(program: Program, batch: Batch) -> tuple[Floats, float]:
    """Features [stream, phase, feature] of one microbatch of `batch`, and how many there are.

    Of all data-parallel groups that share experts.
    """
    features = np.zeros((len(program.streams), 4, 4))
    for prompt, begin, tokens in batch.prompts:
        sequences.add_prefill(program.streams, features, prompt, begin, tokens, prompt)
    for prompt, generated in batch.decodes:
        add_decode(program, features, prompt, prompt + generated)
    count = float(len(batch.prompts) + len(batch.decodes))
    parts = iteration.microbatches(program.machine[0], count)
    return features / parts, parts


def add_decode(program: Program, features: Floats, prompt: int, context: int) -> None:
    """One sequence decodes, its newest token the last of `context`; drafts count in the mean."""
    if program.ahead == 0:
        sequences.add_decode(program.streams, features, prompt, context)
        return
    sequences.add_verification(program.streams, features, prompt, context, program.ahead)
    sequences.add_drafting(program.streams, features, prompt, context, 0, program.ahead)


def drafting(program: Program) -> Program:
    """`program` as an iteration without prompts runs it: its draft once for each token drafted.

    The draft's operators have that many times their layers. Without speculation the same.
    """
    if program.ahead < 2:
        return program
    graph = program.table.graph
    ops = tuple(
        replace(op, layers=op.layers * program.ahead) if op.stream.draft else op for op in graph.ops
    )
    records = program.table.records.copy()
    records["layers"][program.drafts] *= program.ahead
    table = OpTable(graph=replace(graph, ops=ops), records=records)
    return replace(program, table=table)


def step(program: Program, batch: Batch) -> Step:
    """One iteration of `batch` by one replica of `program`.

    With speculation, of prompts or of sequences that decode: then `drafting` has its operators.
    """
    features, parts = features_of(program, batch)
    if program.ahead:
        assert not (batch.prompts and batch.decodes), "with speculation prompts come by themselves"
        program = drafting(program) if batch.decodes else program
    return step_of_features(program, features, parts, float(batch.sequences))


def step_of_features(
    program: Program, features: Floats, microbatches: float, sequences_: float
) -> Step:
    """One iteration of `sequences_`, whose microbatches have these features."""
    (done,) = steps_of_parts(program, [(features, None)], microbatches, sequences_)
    return done


def steps_of_layers(
    program: Program,
    features: Floats,
    microbatches: float,
    sequences_: float,
    inside: Floats,
) -> list[Step]:
    """As `step_of_features`, of an iteration whose prompts pass a share of the layers alone.

    `inside` [ops] is that share of each operator's layers: one step of those that decode in the
    others, and one of all in these.
    """
    if (inside == 1.0).all():
        return [step_of_features(program, features, microbatches, sequences_)]
    alone = np.zeros_like(features)
    iteration.without_prompts(features, alone)
    parts: list[tuple[Floats, Floats | None]] = [(alone, 1.0 - inside), (features, inside)]
    return steps_of_parts(program, parts, microbatches, sequences_)


def steps_of_parts(
    program: Program,
    parts: Iterable[tuple[Floats, Floats | None]],
    microbatches: float,
    sequences_: float,
) -> list[Step]:
    """One iteration in parts, each with features and its share [ops] of the layers (None: all).

    Each step has the rows of its part, and seconds and joules of the whole iteration.
    """
    made = [(shares, *_evaluated(program, features)) for features, shares in parts]
    for shares, _, _, rows, _ in made:
        if shares is not None:
            rows[:, : BUSY_S + 1] *= shares[:, None]
    machine = program.machine[0]
    host_s = float(passes.host_time(sequences_, machine))
    passed = sum(float(rows[:, SECONDS].sum()) for _, _, _, rows, _ in made)
    busiest_s = 0.0
    if program.split is not None:
        every = np.stack([rows for _, _, _, rows, _ in made])
        whole = np.ones(every.shape[:2])  # rows are of their shares already
        busiest_s = passes.busiest_side(program.table.records, every, whole, len(made))
    seconds = passes.step_time(passed, microbatches, host_s, machine, busiest_s)
    spent_J = sum(float(rows[:, JOULES].sum()) for _, _, _, rows, _ in made)
    left = passes.within_limit(spent_J, seconds, microbatches, machine)
    joules = passes.step_energy(spent_J * left, seconds, microbatches, machine)
    for _, _, _, rows, _ in made:
        rows[:, JOULES] *= left
    return [
        Step(
            seconds=seconds,
            host_s=host_s,
            joules=joules,
            microbatches=microbatches,
            shares=np.ones(len(rows)) if shares is None else shares,
            features=features,
            experts=experts,
            rows=rows,
            chosen=chosen,
        )
        for shares, features, experts, rows, chosen in made
    ]


def asked_for(program: Program, done: Step) -> tuple[Floats, Floats]:
    """What one layer of each operator asks for, and what each processor would take for it.

    Flops and bytes of weights, KV and activations [ops, 4]; seconds and joules [ops, processors,
    5]: see `passes.candidates`.
    """
    demands = np.empty((len(program.table.records), 4))
    costs = np.empty((len(program.table.records), len(program.units), 5))
    features, experts, rows, chosen = done.features, done.experts, done.rows, done.chosen
    passes.candidates(_pass(program, features, experts, rows, chosen), demands, costs)
    return demands, costs


def _evaluated(program: Program, features: Floats) -> tuple[Floats, Floats, Floats, Ints]:
    """Features of all views, experts, rows and choices of one pass through all layers."""
    operators = len(program.table.records)
    rows = np.zeros((operators, ROW_COLUMNS))
    chosen = np.zeros((operators, 2), np.int64)
    features, experts = _seen(program, features)
    passes.evaluate(_pass(program, features, experts, rows, chosen))
    return features, experts, rows, chosen


def _pass(program: Program, features: Floats, experts: Floats, rows: Floats, chosen: Ints) -> Pass:
    ops, units, links = program.table.records, program.units, program.links
    return Pass(ops, features, experts, program.routing, units, links, rows, chosen)


def _seen(program: Program, features: Floats) -> tuple[Floats, Floats]:
    """Features of all groups, the busiest and the mean one, and experts touched."""
    streams = len(program.streams)
    seen = np.zeros((program.feature_rows, 4, 4))
    seen[:streams] = features
    passes.spread_over_groups(seen, streams, float(program.layout.attention_dp))
    experts = np.ones((program.feature_rows, 3))
    expert_features(program.table.records, seen, program.routing, experts)
    return seen, experts


def request_times(program: Program, prompt: int, output: int) -> Floats:
    """Seconds from arrival to each output token of a request served alone; shape [output].

    Without speculation, whose steps give as many tokens as chance will have it.
    """
    assert program.ahead == 0, "speculation draws how many tokens come at once"
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
    built = [(*features_of(program, batch), float(batch.sequences)) for batch in batches]
    return _swept(program, built, units, links, machines)


def sweep_features(
    program: Program,
    features: Floats,
    sequences_: float,
    units: npt.NDArray[np.void],
    links: npt.NDArray[np.void],
    machines: npt.NDArray[np.void],
) -> Floats:
    """As `sweep`, of one iteration whose `sequences_` together have these features."""
    parts = iteration.microbatches(program.machine[0], sequences_)
    return _swept(program, [(features / parts, parts, sequences_)], units, links, machines)


def _swept(
    program: Program,
    built: list[tuple[Floats, float, float]],
    units: npt.NDArray[np.void],
    links: npt.NDArray[np.void],
    machines: npt.NDArray[np.void],
) -> Floats:
    microbatches = np.array([parts for _, parts, _ in built])
    seen = [_seen(program, own) for own, _, _ in built]
    features = np.stack([own for own, _ in seen])
    experts = np.stack([own for _, own in seen])
    out = np.empty((len(machines), 2))
    sweeping.sweep(
        program.table.records,
        features,
        experts,
        program.routing,
        microbatches,
        np.array([count for _, _, count in built]),
        units,
        links,
        machines,
        out,
    )
    return out
