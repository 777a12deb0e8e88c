"""Layers in metal: the stages a token passes in each kind, and what their collectives carry.

Attention with key-value heads and experts are as in HNLPU, section 3.1 and Fig. 11. Beyond the
paper: a dense layer has no router, so one product and three non-linear operations fewer. MLA has
two stages more: down to the latents (summed in the column), the queries from them (summed), and
queries times W_UK (a slice of the latent a row, gathered); its W_UV gives each row a slice of the
values, and the output projection's partial sums are of the whole hidden vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sim.graph import Graph, Op
from sim.hardware.hardwired.pipeline import Stage
from sim.mapping.hardwired.grid import Grid, check

Along = Literal["row", "column"]
Block = Mapping[str, Op]


@dataclass(frozen=True, kw_only=True)
class Message:
    """A collective phase among the chips of a row or column: elements over each of its links."""

    name: str
    along: Along
    elements: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stage with its messages."""

    name: str
    messages: tuple[Message, ...] = ()
    operators: int = 0
    non_linear: int = 0
    attends: bool = False

    @property
    def stage(self) -> Stage:
        """As the pipeline times it."""
        return Stage(
            name=self.name,
            phases=len(self.messages),
            elements=sum(each.elements for each in self.messages),
            operators=self.operators,
            non_linear=self.non_linear,
            attends=self.attends,
        )


def blocks(graph: Graph) -> Iterator[Block]:
    """Operators by name of each distinct layer."""
    for indices in dict.fromkeys(op.layer_indices for op in graph.ops if op.layer_indices):
        yield {op.name: op for op in graph.ops if op.layer_indices == indices}


def steps(block: Block, hidden: int, grid: Grid) -> tuple[Step, ...]:
    """The stages of a layer; without the phases among a single chip, and stages left empty so."""
    mixer = _latent_steps if "mla_q" in block else _attention_steps
    made = (_sum("sum of the last layer", hidden), *mixer(block, hidden, grid), _network(block))
    ways = {"row": grid.columns, "column": grid.rows}
    kept = (
        replace(step, messages=tuple(each for each in step.messages if ways[each.along] > 1))
        for step in made
    )
    return tuple(step for step in kept if step.messages or step.operators or step.attends)


def _sum(name: str, hidden: int, what: str = "sum") -> Step:
    """An all-reduce over all chips: over rows, then over columns."""
    row = Message(name=f"{what} over a row", along="row", elements=float(hidden))
    column = Message(name=f"{what} over a column", along="column", elements=float(hidden))
    return Step(name=name, messages=(row, column))


def _column(name: str, elements: float) -> tuple[Message, ...]:
    return (Message(name=name, along="column", elements=elements),)


def _attention_steps(block: Block, hidden: int, grid: Grid) -> Iterator[Step]:
    qkv = block["qkv"]
    queries, keys = qkv.width / grid.columns, qkv.kv_width / min(grid.columns, qkv.kv_heads)
    yield Step(
        name="query, key, value", messages=_column("queries and keys", queries + keys), operators=1
    )
    yield Step(name="attention", attends=True)
    yield Step(name="output projection", messages=_column("attention output", queries), operators=1)
    slice_ = hidden / grid.rows
    row = Message(name="output projection, row", along="row", elements=slice_)
    gather = _column("output projection, gather", slice_)
    yield Step(name="sum of the output", messages=(row, *gather))


def _latent_steps(block: Block, hidden: int, grid: Grid) -> Iterator[Step]:
    down, up, absorb = block["mla_down"], block["mla_q"], block["mla_absorb"]
    heads, queries = up.heads / grid.columns, up.width / grid.columns
    if up.depth == hidden:  # queries straight from the hidden vector, beside the latents
        both = _column("latents and queries", down.width + queries)
        yield Step(name="latents and queries", messages=both, operators=1)
    else:
        yield Step(name="latents", messages=_column("latents", down.width), operators=1)
        yield Step(name="queries", messages=_column("queries", queries), operators=1)
    latent = heads * absorb.depth
    absorbed = _column("queries on the latent", latent / grid.rows)
    yield Step(name="queries on the latent", messages=absorbed, operators=1)
    yield Step(name="attention", attends=True)
    output = _column("attention output", latent)
    yield Step(name="output projection", messages=output, operators=2)
    yield _sum("sum of the output", hidden, "output")


def _network(block: Block) -> Step:
    """Router, up and down with RMSNorm, top-k, softmax, activation, weighting; or dense."""
    if "experts_down" in block:
        return Step(name="experts", operators=3, non_linear=5)
    return Step(name="feed-forward", operators=2, non_linear=2)


def kept_elements(block: Block, grid: Grid) -> float:
    """Elements the fullest chip keeps for a cached token of one layer: its heads and positions."""
    op = block["attention_decode"]
    return op.kv_read / (grid.rows * min(grid.columns, op.kv_heads))


def attention_work(graph: Graph, grid: Grid) -> tuple[float, float]:
    """Elements a chip reads and operations it does for a cached token, in its heaviest layer."""
    found = list(blocks(graph))
    read = max(kept_elements(block, grid) for block in found)
    done = max(block["attention_decode"].flops_per_pair for block in found)
    return read, done / grid.chips


def collective_elements(graph: Graph, grid: Grid) -> dict[str, float]:
    """Elements of the collective phases of one layer, by name; of the layer with most of them."""
    check(graph, grid)
    every = [
        {each.name: each.elements for step in steps(block, graph.hidden, grid)
         for each in step.messages}
        for block in blocks(graph)
    ]  # fmt: skip
    return max(every, key=lambda each: sum(each.values()))


def link_elements(graph: Graph, grid: Grid) -> dict[Along, float]:
    """Elements that the busiest link along a row, and along a column, carries of one token.

    All layers share the links.
    """
    totals: dict[Along, float] = {"row": 0.0, "column": 0.0}
    for block in blocks(graph):
        layers = next(iter(block.values())).layers
        for step in steps(block, graph.hidden, grid):
            for each in step.messages:
                totals[each.along] += layers * each.elements
    return totals


def logits_elements(graph: Graph, grid: Grid) -> dict[Along, float]:
    """Elements on the same links for a token's logits, gathered on all chips: rows, then columns.

    Every chip has whole rows of its part of the vocabulary, so nothing is summed.
    """
    head = next((op for op in graph.ops if op.name == "lm_head"), None)
    own = -(-head.width // grid.chips) if head else 0
    return {
        "row": float(own) if grid.columns > 1 else 0.0,
        "column": float(own * grid.columns) if grid.rows > 1 else 0.0,
    }
