"""Closed form: points of a study by the roofline, many in one compiled call.

A point serves `load.batch` sequences at once, each of `load.input` tokens in and `load.output` out,
at steady state: the batch decodes at half the answer, and in the time of one answer as many prompts
come in as there are sequences. With speculation an answer takes as many steps as it has tokens over
those that a step gives on average.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sim.config.costs import costs_of
from sim.economics.ledger import ledger
from sim.economics.ownership import mean_W, per_Mtok
from sim.engines.roofline import add_decode, drafting, step_of_features, sweep_features
from sim.engines.serving.replica import policy_record
from sim.errors import ConfigError, Infeasible
from sim.hardware.records import fill_machine, link_records, processor_records
from sim.hardware.residuals import LEVELS, Level
from sim.kernel import iteration, sequences
from sim.mapping.program import Program
from sim.results.bands.bands import steady_factors
from sim.results.measurement import SteadyState
from sim.results.metrics import Law, steady_columns
from sim.studies.sweep.programs import Built, Loader, Owner
from sim.studies.sweep.space import Ints
from sim.studies.sweep.study import Study

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.int64]
MOST: Final = 20_000
"""Combinations of number axes that touch the same word, or the same cost, put in one table."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Columns of some points, and why some have none: reasons by position."""

    columns: dict[str, Floats]
    """Result columns, and ends of their error bands ("tpot_s_low", "tpot_s_high")."""
    levels: npt.NDArray[np.int8]
    """How well the times of each point are known: places in `residuals.LEVELS`."""
    reasons: dict[int, tuple[str, str]]
    """Status (infeasible or failed) and why."""


@dataclass(kw_only=True, eq=False)
class Evaluator:
    """Evaluates points of a study given as levels [point, axis]."""

    study: Study
    loader: Loader = field(init=False)
    _tables: dict[Any, _Tables] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The loader of the study's scenarios."""
        self.loader = Loader(study=self.study)

    def evaluate(self, rows: Ints, inactive: npt.NDArray[np.bool_]) -> Answer:
        """Columns of the points `rows`, in their order."""
        levels = np.where(inactive, -1, rows)
        out = {name: np.full(len(rows), np.nan) for name in self.study.numbers}
        known = np.zeros(len(rows), np.int8)
        reasons: dict[int, tuple[str, str]] = {}
        structural = self.loader.of_kind("structural")
        for structure, where in _groups(levels[:, structural]):
            built = self.loader.built(structure)
            if not isinstance(built, Built):
                reasons |= dict.fromkeys(map(int, where), built)
                continue
            self._fill(structure, built, levels, where, out, known, reasons)
        return Answer(columns=out, levels=known, reasons=reasons)

    def _fill(
        self,
        structure: tuple[int, ...],
        built: Built,
        levels: Ints,
        where: npt.NDArray[np.intp],
        out: dict[str, Floats],
        known: npt.NDArray[np.int8],
        reasons: dict[int, tuple[str, str]],
    ) -> None:
        axes = self.loader.of_kind("number")
        if structure not in self._tables:
            self._tables[structure] = _Tables(
                loader=self.loader, structure=structure, built=built, axes=axes
            )
        tables = self._tables[structure]
        loads = self.loader.of_kind("load")
        for chosen, inside in _groups(levels[where][:, loads]):
            points = where[inside]
            load = self._load(loads, chosen)
            try:
                columns = tables.columns(load, levels[points][:, axes])
            except Infeasible as error:
                reasons |= dict.fromkeys(map(int, points), ("infeasible", error.reason))
                continue
            for name, values in columns.items():
                out[name][points] = values
            factors, level = tables.bands(load)
            known[points] = LEVELS.index(level)
            for column in self.study.results:
                if column.metric and column.metric.band:
                    for end, factor in zip(column.ends, factors[column.metric.band], strict=True):
                        out[end][points] = columns[column.name] * factor

    def _load(self, axes: list[int], levels: tuple[int, ...]) -> dict[str, int]:
        load = dict(self.study.load)
        for axis, level in zip(axes, levels, strict=True):
            load |= self.study.space.axes[axis].load(level) if level >= 0 else {}
        return load


def _groups(levels: Ints) -> Iterator[tuple[tuple[int, ...], npt.NDArray[np.intp]]]:
    """Distinct rows of `levels`, with where they stand."""
    if levels.shape[1] == 0:
        yield (), np.arange(len(levels))
        return
    kinds, which = np.unique(levels, axis=0, return_inverse=True)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which.ravel(), minlength=len(kinds)))
    for row, part in zip(kinds, np.split(order, ends[:-1]), strict=True):
        yield tuple(map(int, row)), part


def _words(records: npt.NDArray[Any]) -> Words:
    """Records as the words they are made of."""
    return np.ascontiguousarray(records).view(np.int64).ravel()


@dataclass(kw_only=True, eq=False)
class _Tables:
    """Records and costs of one structural combination by the levels of number axes."""

    loader: Loader
    structure: tuple[int, ...]
    built: Built
    axes: list[int]

    def __post_init__(self) -> None:
        """Tables of what each axis changes."""
        self.base = self._vector(self.built.owner)
        self.sizes = [len(self.loader.study.space.axes[axis].levels) for axis in self.axes]
        touched = [self._touched(position) for position in range(len(self.axes))]
        self.tables = [
            self._table(group, sorted(words)) for group, words in _joined(touched) if words
        ]
        self.paid = [position for position in range(len(self.axes)) if self._costs(position)]
        self._owned: dict[tuple[int, ...], Floats] = {}
        self._bands: dict[tuple[int, ...], tuple[dict[Law, tuple[float, float]], Level]] = {}

    def _owner(self, levels: Mapping[int, int]) -> Owner:
        return self.loader.owner(
            self.structure, [(self.axes[position], level) for position, level in levels.items()]
        )

    def _vector(self, owner: Owner) -> Words:
        """Words of units, links and machine of an owner."""
        return np.concatenate([_words(part) for part in records_of(self.built.program, owner)])

    def _touched(self, position: int) -> set[int]:
        changed: set[int] = set()
        for level in range(self.sizes[position]):
            words = self._vector(self._owner({position: level}))
            changed |= set(map(int, np.flatnonzero(words != self.base)))
        return changed

    def _table(self, group: list[int], words: list[int]) -> tuple[list[int], list[int], Words]:
        """Words of a group of axes at every combination of their levels; level -1 comes last."""
        sizes = [self.sizes[position] + 1 for position in group]
        if np.prod(sizes) > MOST:
            names = ", ".join(self.loader.study.space.axes[self.axes[each]].name for each in group)
            raise ConfigError(
                f"{names} change the same number of the kernel in {np.prod(sizes):,} combinations; "
                f"up to {MOST:,} are tabled: give fewer levels"
            )
        table = np.empty((*sizes, len(words)), np.int64)
        for levels in product(*(range(size) for size in sizes)):
            named = {
                position: level
                for position, level, size in zip(group, levels, sizes, strict=True)
                if level < size - 1
            }
            table[levels] = self._vector(self._owner(named))[words]
        return group, words, table

    def _costs(self, position: int) -> bool:
        base = _coefficients(self.built.owner)
        return any(
            not np.array_equal(base, _coefficients(self._owner({position: level})), equal_nan=True)
            for level in range(self.sizes[position])
        )

    def records(self, levels: Ints) -> tuple[Any, Any, Any]:
        """Units [point, processor], links [point, 2] and machine [point] of points."""
        words = np.empty((len(levels), len(self.base)), np.int64)
        words[:] = self.base
        for group, changed, table in self.tables:
            words[:, changed] = table[tuple(levels[:, position] for position in group)]
        parts = records_of(self.built.program, self.built.owner)
        ends = np.cumsum([len(_words(part)) for part in parts])
        cut = np.split(words, ends[:-1], axis=1)
        units, links, machines = (
            np.ascontiguousarray(own).view(part.dtype).reshape(len(levels), len(part))
            for own, part in zip(cut, parts, strict=True)
        )
        return units, links, machines[:, 0]

    def owned(self, levels: Ints) -> Floats:
        """Coefficients of cost [point, ...] of points."""
        if not self.paid:
            return np.broadcast_to(self._of(()), (len(levels), *self._of(()).shape))
        kinds, which = np.unique(levels[:, self.paid], axis=0, return_inverse=True)
        return np.stack([self._of(tuple(map(int, row))) for row in kinds])[which.ravel()]

    def _of(self, levels: tuple[int, ...]) -> Floats:
        if levels not in self._owned:
            if len(self._owned) > MOST:
                raise ConfigError(f"more than {MOST:,} combinations of what costs depend on")
            self._owned[levels] = _coefficients(
                self._owner(dict(zip(self.paid, levels, strict=True)))
            )
        return self._owned[levels]

    def columns(self, load: Mapping[str, int], levels: Ints) -> dict[str, Floats]:
        """Result columns of points with one load. Infeasible where its KV does not fit."""
        program, layout = self.built.program, self.built.program.layout
        batch = -(-load["batch"] // layout.dp)
        held = _kv_B(self.built, load) * batch
        if held > self.built.budget.kv_B:
            raise Infeasible(
                f"KV cache of {batch} sequences of {load['input'] + load['output']} tokens takes "
                f"{held / 1e9:.4g} GB on each device, {self.built.budget.kv_B / 1e9:.4g} GB are "
                "free"
            )
        records = self.records(levels)
        decode_s, decode_J = self._step(
            drafting(program), _decoding(program, load, batch), batch, records
        )
        prefill_s, prefill_J = self._step(program, _prompt(program, load), 1, records)
        answer = load["output"]
        steps = answer / program.tokens_per_step
        span_s = steps * decode_s + batch * prefill_s
        rate = load["batch"] * answer / span_s  # the busiest replica sets the pace
        busy = min(layout.dp, load["batch"])
        idle = self.built.owner.system.count - busy * layout.devices
        working = (steps * decode_J / batch + prefill_J) / answer * rate
        power = working + idle * records[2]["static_W"]
        usd, kg, capital, area = _owned(self.owned(levels), rate, power)
        return steady_columns(
            SteadyState(
                prefill_s=prefill_s,
                step_s=decode_s,
                answer_s=span_s,
                answer_tokens=answer,
                tok_per_s=rate,
                power_W=power,
                kv_share=np.full(len(levels), held / self.built.budget.kv_B),
                devices=self.built.owner.system.count,
                usd_per_Mtok=usd,
                kg_per_Mtok=kg,
                capital_USD=capital,
                die_area_mm2=area,
            )
        )

    def bands(self, load: Mapping[str, int]) -> tuple[dict[Law, tuple[float, float]], Level]:
        """Factors of error bands by law, and how well times are known, under one load.

        As of the structural combination itself: number axes change what operators take, and so
        their shares, but not what is known of them.
        """
        key = load["batch"], load["input"], load["output"]
        if key not in self._bands:
            program, scenario = self.built.program, self.built.prepared.scenario
            batch = -(-load["batch"] // program.layout.dp)
            parts = iteration.microbatches(program.machine[0], float(batch))
            decode = _decoding(program, load, batch) / parts
            self._bands[key] = steady_factors(
                program,
                scenario.runtime,
                step_of_features(drafting(program), decode, parts, float(batch)),
                step_of_features(program, _prompt(program, load), 1.0, 1.0),
                steps=load["output"] / program.tokens_per_step,
                prompts=float(batch),
            )
        return self._bands[key]

    def _step(
        self, program: Program, features: Floats, sequences_: int, records: tuple[Any, Any, Any]
    ) -> tuple[Floats, Floats]:
        out = sweep_features(program, features, float(sequences_), *records)
        return out[:, 0], out[:, 1]


def _joined(touched: list[set[int]]) -> list[tuple[list[int], set[int]]]:
    """Positions that touch a common word, together."""
    groups: list[tuple[list[int], set[int]]] = []
    for position, words in enumerate(touched):
        joined, rest = ([position], set(words)), []
        for group in groups:
            if group[1] & joined[1]:
                joined = (sorted(group[0] + joined[0]), group[1] | joined[1])
            else:
                rest.append(group)
        groups = [*rest, joined]
    return groups


def records_of(program: Program, owner: Owner) -> tuple[Any, Any, Any]:
    """Units, links and machine of `program` on an owner's system."""
    system = owner.system
    machine = program.machine.copy()
    fill_machine(machine, system.device)
    links = link_records(system.device.link, system.network)
    hardwired = system.device.hardwired is not None
    units = program.units if hardwired else processor_records(system.device)
    return units, links, machine


def _one(program: Program) -> Floats:
    return np.zeros((len(program.streams), 4, 4))


def _decoding(program: Program, load: Mapping[str, int], batch: int) -> Floats:
    """Features of a replica's sequences, all half through their answers."""
    features = _one(program)
    context = load["input"] + max(load["output"] // 2, 1)
    add_decode(program, features, load["input"], context)
    return features * batch


def _prompt(program: Program, load: Mapping[str, int]) -> Floats:
    features = _one(program)
    sequences.add_prefill(program.streams, features, load["input"], 0, load["input"], load["input"])
    return features


def _kv_B(built: Built, load: Mapping[str, int]) -> float:
    """Bytes one device holds for a whole sequence."""
    scheduler = built.prepared.scenario.scheduler
    policy = policy_record(scheduler, built.budget.kv_B, built.program)[0]
    whole = load["input"] + load["output"] + built.program.ahead
    return float(sequences.kv_bytes(built.program.streams, policy, load["input"], whole))


def _coefficients(owner: Owner) -> Floats:
    """What costs are linear in, [cheap, base, dear] each; NaN where they are not known.

    USD and kgCO2e of the years at no power, and a watt more; years; busy share; power unused; die
    area; capital.
    """
    system, costing = owner.system, owner.cost
    empty = np.full((9, 3), np.nan)
    try:
        costs = costs_of(system, costing.site, costing.practice, costing.basis)
        still, moving = ledger(system, costs, 0.0), ledger(system, costs, 1.0)
    except (Infeasible, ConfigError):
        return empty
    practice = costs.practice
    usd, kg = "tco_usd", "operational_kgCO2e"
    if system.device.tdp_W is None or still.totals[usd] is None:
        return empty
    embodied = np.asarray(still.totals["embodied_kgCO2e"])
    return np.stack(
        [
            np.asarray(still.totals[usd]),
            np.asarray(moving.totals[usd]) - np.asarray(still.totals[usd]),
            embodied,
            np.asarray(moving.totals[kg]),
            practice.years,
            practice.utilisation,
            np.full(3, system.unused_W),
            np.asarray(still.totals["die_area_mm2"]),
            np.asarray(still.totals["capex_usd"]),
        ]
    )


def _owned(coefficients: Floats, rate: Floats, power: Floats) -> tuple[Floats, ...]:
    """USD and kgCO2e a million tokens, capital and die area of points, [cheap base dear, point]."""
    usd, usd_W, kg, kg_W, years, busy, unused, area, capital = coefficients.transpose(1, 2, 0)
    used = mean_W(power, unused, utilisation=busy)
    cost, carbon = (
        per_Mtok(total, rate, years, utilisation=busy)
        for total in (usd + usd_W * used, kg + kg_W * used)
    )
    return np.asarray(cost), np.asarray(carbon), capital, area
