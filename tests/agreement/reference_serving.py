"""A slow, plain reference of the serving loop: one iteration at a time, by the schedulers' rules.

Written from `Scheduler`'s documentation and docs/reference/metrics.md. It decides everything anew
each iteration, and takes every duration from the plain reference of the laws.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from reference import Machine, machine
from reference_views import CAUSAL, CROSS, GENERATED

from sim.engines.scheduler import Scheduler
from sim.mapping.program import Program
from sim.workload.traffic import Trace


@dataclass(kw_only=True, eq=False)
class Sequence:
    """One request and where it stands."""

    arrival: float
    prompt: int
    output: int
    goal: int
    priority: int = 0
    done: int = 0
    generated: int = 0
    held: float = 0.0
    parked: float = 0.0
    """Bytes in host memory."""
    admitted: float = math.nan
    first: float = math.nan
    last: float = math.nan
    worst_gap: float = 0.0
    number: int = 0
    preempted: int = 0
    rejected: bool = False

    @property
    def context(self) -> int:
        return self.prompt + self.generated

    @property
    def is_decoding(self) -> bool:
        return self.done == self.goal

    @property
    def is_complete(self) -> bool:
        return self.generated == self.output


@dataclass(kw_only=True)
class Server:
    """One replica, its queue and its memory."""

    plain: Machine
    scheduler: Scheduler
    capacity: float
    now: float = 0.0
    queue: deque[Sequence] = field(default_factory=deque)
    running: list[Sequence] = field(default_factory=list)
    used: float = 0.0
    peak: float = 0.0
    joules: float = 0.0
    busy: float = 0.0
    copying: float = 0.0
    """Seconds of swaps that the next iteration waits for, or hides."""
    waited: float = 0.0
    moved: float = 0.0
    iterations: int = 0
    prefilled: int = 0
    preemptions: int = 0
    cohort: list[tuple[Sequence, int]] = field(default_factory=list)
    """Prompts on their way through the layers, and how many of their tokens."""
    groups: list[set[int]] = field(default_factory=list)
    """Groups of layers that they have yet to pass."""
    gaps: list[float] = field(default_factory=list)
    ahead: int = 0
    """Tokens drafted for each sequence."""
    accept: Callable[[Sequence], int] = lambda _: 0
    """How many of them are accepted."""

    @property
    def chunks(self) -> bool:
        return self.scheduler.kind in ("chunked-prefill", "layered-prefill") and any(
            stream.kind == CAUSAL for stream in self.plain.streams
        )

    @property
    def layered(self) -> bool:
        return self.chunks and self.scheduler.kind == "layered-prefill"

    @property
    def budget(self) -> int:
        chunked = self.scheduler.kind == "chunked-prefill"
        return self.scheduler.token_budget if chunked else self.scheduler.max_prefill_tokens

    def bytes_of(self, prompt: int, context: int) -> float:
        """Cache of a sequence of `context` tokens, in whole blocks."""
        total = self.plain.state_B
        for stream in self.plain.streams:
            if stream.kind == CAUSAL:
                tokens = context
            elif stream.kind == GENERATED:
                tokens = context - prompt + 1
            elif stream.kind == CROSS:
                tokens = stream.tokens or prompt
            else:
                continue
            if stream.window:
                tokens = min(tokens, stream.window)
            blocks = -(-tokens // self.scheduler.kv_block)
            total += blocks * self.scheduler.kv_block * stream.kv_B
        return total

    def hold(self, sequence: Sequence, size: float) -> None:
        sequence.held = size
        self.used = sum(other.held for other in self.running)

    def preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        size = sequence.held
        self.hold(sequence, 0.0)
        sequence.preempted += 1
        self.preemptions += 1
        host = self.scheduler.host
        parked = sum(other.parked for other in self.queue) + size
        swaps = host is not None and parked <= host.memory_B and sequence.is_decoding
        if self.scheduler.preemption == "swap" and swaps:
            sequence.parked = size
            self.copy(size)
            self.queue.appendleft(sequence)
            return
        sequence.goal, sequence.done = sequence.context, 0
        self.queue.insert(sum(other.parked > 0.0 for other in self.queue), sequence)

    def copy(self, size: float) -> None:
        host = self.scheduler.host
        assert host is not None
        self.copying += host.latency_s + size / host.bandwidth_B_per_s
        self.moved += size

    def resume(self) -> None:
        """Caches in host memory come back in the order of admission, above the watermark."""
        if self.scheduler.kind == "static" and self.running:
            return
        while self.queue and self.queue[0].parked and len(self.running) < self.scheduler.max_batch:
            sequence = self.queue[0]
            need = self.bytes_of(sequence.prompt, sequence.context + self.ahead)
            spare = self.scheduler.watermark * self.capacity if self.running else 0.0
            if self.used + need > self.capacity - spare:
                return
            self.queue.popleft()
            self.copy(sequence.parked)
            sequence.parked = 0.0
            self.running.append(sequence)
            self.hold(sequence, need)

    def wait(self, seconds: float) -> float:
        """How much longer an iteration takes for the copies that are due."""
        host, due = self.scheduler.host, self.copying
        self.copying = 0.0
        return max(due - seconds, 0.0) if host is not None and host.overlap else due

    def make_room(self) -> None:
        """Room for one more token of each decoding sequence, the oldest first."""
        for sequence in list(self.running):
            if sequence not in self.running or not sequence.is_decoding:
                continue
            tokens = sequence.context + self.ahead
            need = max(self.bytes_of(sequence.prompt, tokens), sequence.held)
            while self.used - sequence.held + need > self.capacity:
                victim = self.running[-1]
                self.preempt(victim)
                if victim is sequence:
                    break
            else:
                self.hold(sequence, need)

    def admit(self, count: int, budget: int) -> Sequence | None:
        """The next request, if it may start now; ones that can never fit are turned away."""
        while self.queue and len(self.running) < self.scheduler.max_batch and budget > 0:
            if self.queue[0].parked:
                return None
            here = [sequence for sequence in self.queue if sequence.arrival <= self.now]
            if here and self.scheduler.order != "arrival":
                first = min(here, key=self.urgency)
                self.queue.remove(first)
                self.queue.appendleft(first)
            sequence = self.queue[0]
            if sequence.arrival > self.now:
                return None
            most = sequence.prompt + sequence.output + self.ahead
            whole = self.bytes_of(sequence.prompt, most)
            if whole > self.capacity:
                sequence.rejected = True
                self.queue.popleft()
                continue
            need = whole
            if self.scheduler.kv_reserve == "paged":
                need = self.bytes_of(sequence.prompt, sequence.goal)
            spare = self.scheduler.watermark * self.capacity if self.running else 0.0
            if self.used + need > self.capacity - spare:
                return None
            if not self.chunks and sequence.goal > budget and count > 0:
                return None
            self.queue.popleft()
            self.running.append(sequence)
            self.hold(sequence, need)
            if not sequence.preempted:
                sequence.admitted = self.now
            return sequence
        return None

    def urgency(self, sequence: Sequence) -> float:
        if self.scheduler.order == "shortest":
            return sequence.prompt
        if self.scheduler.order == "priority":
            return sequence.priority
        per_token = self.scheduler.deadline_s_per_token * sequence.prompt
        return sequence.arrival + (self.scheduler.deadline_s + per_token)

    def next_prompts(self) -> tuple[list[tuple[Sequence, int]], set[int] | None]:
        """Prompts of the next iteration and the layers they pass; None: all."""
        if self.scheduler.kind == "static" and any(s.generated > 1 for s in self.running):
            return [], None
        if not self.layered:
            return self.choose(), None
        self.cohort = [(s, tokens) for s, tokens in self.cohort if s in self.running]
        if not self.cohort:
            self.cohort = self.choose()
            layers = max(layer for own in self.plain.layers for layer in own) + 1
            tokens = sum(tokens for _, tokens in self.cohort)
            wanted = math.ceil(tokens / self.scheduler.group_tokens)
            if self.scheduler.group_rule == "release":
                wanted = released_groups(
                    tokens / self.scheduler.group_tokens, self.scheduler.groups
                )
            parts = max(min(wanted, self.scheduler.groups, layers), 1)
            self.groups = [set(part.tolist()) for part in np.array_split(np.arange(layers), parts)]
        return self.cohort, self.groups.pop(0) if self.cohort else None

    def choose(self) -> list[tuple[Sequence, int]]:
        """Prompts of the next iteration and how many of their tokens."""
        chosen: list[tuple[Sequence, int]] = []
        budget = self.budget
        if self.chunks:
            if not self.layered:
                each = 1 + self.ahead
                budget -= sum(each * sequence.is_decoding for sequence in self.running)
            for sequence in self.running:
                if budget > 0 and not sequence.is_decoding:
                    tokens = min(budget, sequence.goal - sequence.done)
                    chosen.append((sequence, tokens))
                    budget -= tokens
        while (sequence := self.admit(len(chosen), budget)) is not None:
            tokens = min(budget, sequence.goal) if self.chunks else sequence.goal
            chosen.append((sequence, tokens))
            budget -= tokens
        return chosen

    def emit(self, sequence: Sequence) -> None:
        if sequence.generated:
            gap = self.now - sequence.last
            self.gaps.append(gap)
            sequence.worst_gap = max(sequence.worst_gap, gap)
        else:
            sequence.first = self.now
        sequence.generated += 1
        sequence.last = self.now

    def advance(self) -> bool:
        """One iteration, or a wait for the next arrival; False when all is done."""
        before = self.preemptions
        self.make_room()
        if self.preemptions == before:
            self.resume()
        decoders = [sequence for sequence in self.running if sequence.is_decoding]
        prompts, group = self.next_prompts()
        self.peak = max(self.peak, self.used)
        if prompts and self.scheduler.kind in ("prefill-first", "static"):
            decoders = []
        if not prompts and not decoders:
            if not self.queue:
                return False
            self.now = max(self.now, self.queue[0].arrival)
            return True
        chosen = [(s.prompt, s.done, tokens, s.goal) for s, tokens in prompts]
        if self.ahead:
            contexts = [s.context for s in decoders]
            seconds, joules, _ = self.plain.speculative(chosen, contexts, self.ahead)
        else:
            decodes = [(s.prompt, s.context) for s in decoders]
            seconds, joules, _ = self.plain.iteration(chosen, decodes, group)
        wait = self.wait(seconds)
        self.waited += wait
        joules += wait * self.plain.one.static_W * self.plain.one.devices
        seconds += wait
        self.now += seconds
        self.busy += seconds
        self.joules += joules
        self.iterations += 1
        for sequence in decoders:
            more = min(self.accept(sequence), sequence.output - sequence.generated - 1)
            self.emit(sequence)
            sequence.generated += more
        through = prompts if not self.layered or not self.groups else []
        if self.layered and through:
            self.cohort = []
        for sequence, tokens in through:
            sequence.done += tokens
            self.prefilled += tokens
            if sequence.is_decoding:
                self.emit(sequence)
        self.running = [s for s in self.running if not s.is_complete]
        self.used = sum(s.held for s in self.running)
        return True


def released_groups(thirds: float, most: int) -> int:
    """Groups by the table of the authors' code, for prompts of so many times 512 tokens."""
    for limit, groups in ((1, 1), (2, 2), (4, 4), (8, 6 if most == 12 else 8)):
        if thirds <= limit:
            return groups
    return most


def accepting(program: Program) -> Callable[[Sequence], int]:
    """How many drafted tokens of a sequence the model of `program` accepts."""
    speculation = program.speculation
    if speculation is None:
        return lambda _: 0

    def accept(sequence: Sequence) -> int:
        number = uniform(program.seed, sequence.number, sequence.generated)
        chance, accepted = 1.0, 0
        for each in speculation.acceptance:
            chance *= each
            accepted += number < chance
        return accepted

    return accept


def uniform(seed: int, number: int, count: int) -> float:
    """A number from [0, 1) by SplitMix64, of a seed, a request and how far it is."""
    word, gamma, whole = 0, 0x9E3779B97F4A7C15, 2**64
    for places in (seed + gamma, (number + 1) * gamma, count * gamma):
        word = (word + places) % whole
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % whole
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % whole
        word ^= word >> 31
    return (word >> 11) / 2**53


def serve(
    program: Program, scheduler: Scheduler, kv_B: float, trace: Trace
) -> tuple[Server, list[Sequence]]:
    """The server after the whole trace, and its requests in order of arrival."""
    requests = [
        Sequence(
            arrival=float(arrival), prompt=int(prompt), output=int(output), goal=int(prompt),
            number=number,
        )
        for number, (arrival, prompt, output) in enumerate(
            zip(trace.arrival_s, trace.input_tokens, trace.output_tokens, strict=True)
        )
    ]  # fmt: skip
    if trace.priority is not None:
        for sequence, priority in zip(requests, trace.priority.tolist(), strict=True):
            sequence.priority = priority
    server = Server(
        plain=machine(program),
        scheduler=scheduler,
        capacity=kv_B,
        queue=deque(requests),
        ahead=program.ahead,
        accept=accepting(program),
    )
    while server.advance():
        pass
    return server, requests
