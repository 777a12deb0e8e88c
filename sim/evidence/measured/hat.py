"""HAT: encoder-decoder translators of many shapes in PyTorch, on a GPU and on a Raspberry Pi 4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from sim.engines.roofline import Batch
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.edge import Setting, Timing, case_rows, program_of
from sim.evidence.measured.formats import Format
from sim.evidence.measured.lookups import Row, rows_of
from sim.evidence.measured.tables import Table
from sim.mapping.program import Program
from sim.workload.architecture import Architecture, Attention, Block, Encoder, FeedForward

BOTH = "encoder and decoder"


def predict(form: Format, table: Table, constants: Constants) -> pd.DataFrame:
    """Milliseconds of encoder and decoder, each alone and all together as one group."""
    rows = case_rows(cases_of(form, table), constants, better="low", scale=1e3)
    rows["measured"] *= 1e3
    return pd.concat([rows, rows.assign(phase=BOTH)], ignore_index=True)


def cases_of(form: Format, table: Table) -> list[Timing]:
    """Cases of the encoder and of the decoder of each row, in seconds, made once."""
    if "cases" not in table.built:
        programs: dict[str, Program] = {}
        table.built["cases"] = [
            case for row in rows_of(form, table) for case in _cases(row, form.numbers, programs)
        ]
    cases: list[Timing] = table.built["cases"]
    return cases


def _cases(row: Row, numbers: Mapping[str, int], programs: dict[str, Program]) -> list[Timing]:
    """Both cases of a row.

    FFN widths are means over layers. The decoder attends to one to three layers of the encoder,
    so to as many times the source's tokens.
    """
    setting = Setting(
        device=row["device"], runtime=row["runtime"], dtype=row["dtype"], processor=row["processor"]
    )
    source, steps = numbers["source"], numbers["steps"]
    attended = round(source * float(row["attended"]))
    decodes = Batch(decodes=((attended, (steps + 1) // 2),) * numbers["beam"])
    prompt = Batch(prompts=((source, 0, source),))
    fold, cases = "-".join(map(str, _shape(row, "decoder"))), []
    for side, batches in (("encoder", ((prompt, 1.0),)), ("decoder", ((decodes, float(steps)),))):
        shape = _shape(row, side)
        name = f"hat-{side}-{'-'.join(map(str, shape))}"
        if name not in programs:
            programs[name] = program_of(translator(name, shape, numbers), setting)
        cases.append(
            Timing(
                measured=float(row[f"measured {side}"]) / 1e3, device=setting.device, phase=side,
                dtype=setting.dtype, runtime=setting.runtime, fold=fold, program=programs[name],
                batches=batches,
            )
        )  # fmt: skip
    return cases


def _shape(row: Row, side: str) -> tuple[int, int, int]:
    hidden, layers, inner = (
        round(float(row[f"{side}_{name}"])) for name in ("hidden", "layers", "inner")
    )
    return hidden, layers, inner


def translator(name: str, shape: tuple[int, int, int], numbers: Mapping[str, int]) -> Architecture:
    """The encoder alone, or the decoder behind one of one layer that decoding doesn't run."""
    hidden, layers, inner = shape
    heads = numbers["heads"]
    attention = Attention(
        heads=heads, kv_heads=heads, head_dim=numbers["head_dim"], bias=True, output_bias=True
    )
    encoder = Block(
        mixer=attention, ffn=FeedForward(intermediate=inner, gated=False, bias=True), norms=2,
        norm_bias=True,
    )  # fmt: skip
    if name.startswith("hat-encoder"):
        return Architecture(
            name=name, title="HAT encoder", hidden=hidden, vocabulary=numbers["vocabulary"],
            layers=(), head_outputs=0, encoder=Encoder(hidden=hidden, layers=(encoder,) * layers),
        )  # fmt: skip
    decoder = replace(encoder, cross_attention=attention, norms=3)
    return Architecture(
        name=name, title="HAT decoder", hidden=hidden, vocabulary=numbers["vocabulary"],
        layers=(decoder,) * layers, tied_embeddings=True,
        encoder=Encoder(hidden=hidden, layers=(encoder,)),
    )  # fmt: skip
