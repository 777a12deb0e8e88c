"""HAT: encoder-decoder translators of many shapes in PyTorch, on a GPU and on a Raspberry Pi 4."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, Final

import pandas as pd

from sim.engines.roofline import Batch
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.edge import Setting, Timing, case_rows, cases_in, program_of
from sim.evidence.measured.formats import Format
from sim.evidence.measured.tables import Table
from sim.workload.architecture import Architecture, Attention, Block, Encoder, FeedForward

VOCABULARY, SOURCE, STEPS, BEAM = 32768, 30, 30, 5
"""Of the protocol: source tokens, decoding steps, hypotheses that go on at a time."""
HEADS, HEAD_DIM = 8, 64
"""Queries, keys and values are 512 wide in every shape."""
DEVICES: Final = {
    "gpu_titanxp": Setting(
        device="titan-xp", runtime="pytorch-eager-gpu", dtype="fp32", processor="gpu"
    ),
    "cpu_raspberrypi": Setting(
        device="raspberry-pi-4", runtime="pytorch-eager-cpu", dtype="fp32", processor="cpu"
    ),
}
COLUMNS: Final = (
    "encoder_embed_dim", "encoder_layer_num", "encoder_ffn_embed_dim_avg", "decoder_embed_dim",
    "decoder_layer_num", "decoder_ffn_embed_dim_avg", "decoder_arbitrary_ende_attn_avg",
    "latency_mean_encoder", "latency_mean_decoder",
)  # fmt: skip
BOTH: Final = "encoder and decoder"


def _block(ffn: int, *, cross: bool) -> Block:
    attention = Attention(
        heads=HEADS, kv_heads=HEADS, head_dim=HEAD_DIM, bias=True, output_bias=True
    )
    return Block(
        mixer=attention,
        cross_attention=attention if cross else None,
        ffn=FeedForward(intermediate=ffn, gated=False, bias=True),
        norms=3 if cross else 2,
        norm_bias=True,
    )


@cache
def encoder_of(hidden: int, layers: int, ffn: int) -> Architecture:
    """The encoder alone."""
    return Architecture(
        name=f"hat-encoder-{hidden}-{layers}-{ffn}", title="HAT encoder", hidden=hidden,
        vocabulary=VOCABULARY, layers=(), head_outputs=0,
        encoder=Encoder(hidden=hidden, layers=(_block(ffn, cross=False),) * layers),
    )  # fmt: skip


@cache
def decoder_of(hidden: int, layers: int, ffn: int) -> Architecture:
    """The decoder, behind an encoder of one layer that decoding doesn't run."""
    return Architecture(
        name=f"hat-decoder-{hidden}-{layers}-{ffn}", title="HAT decoder", hidden=hidden,
        vocabulary=VOCABULARY, layers=(_block(ffn, cross=True),) * layers, tied_embeddings=True,
        encoder=Encoder(hidden=hidden, layers=(_block(ffn, cross=False),)),
    )  # fmt: skip


def hat_cases(table: Table) -> list[Timing]:
    """Cases of the encoder and of the decoder of each row, in seconds.

    FFN widths are means over layers. The decoder attends to one to three layers of the encoder,
    so to as many times the source's tokens.
    """
    setting = DEVICES[table.name.removeprefix("hat_wmt14ende_")]
    programs: dict[str, Any] = {}
    cases: list[Timing] = []
    for row in table.frame.to_dict("records"):
        shape = _shape(row, "decoder")
        fold = "-".join(map(str, shape))
        source = round(SOURCE * float(row["decoder_arbitrary_ende_attn_avg"]))
        half = Batch(decodes=((source, (STEPS + 1) // 2),) * BEAM)
        prompt = Batch(prompts=((SOURCE, 0, SOURCE),))
        for side, model, batches in (
            ("encoder", encoder_of(*_shape(row, "encoder")), ((prompt, 1.0),)),
            ("decoder", decoder_of(*shape), ((half, float(STEPS)),)),
        ):
            if model.name not in programs:
                programs[model.name] = program_of(model, setting)
            cases.append(
                Timing(
                    measured=float(row[f"latency_mean_{side}"]) / 1e3, device=setting.device,
                    phase=side, dtype="fp32", runtime=setting.runtime, fold=fold,
                    program=programs[model.name], batches=batches,
                )
            )  # fmt: skip
    return cases


def _shape(row: Mapping[Hashable, Any], side: str) -> tuple[int, int, int]:
    names = (f"{side}_embed_dim", f"{side}_layer_num", f"{side}_ffn_embed_dim_avg")
    hidden, layers, ffn = (round(float(row[name])) for name in names)
    return hidden, layers, ffn


def predict_hat(table: Table, constants: Constants) -> pd.DataFrame:
    """Milliseconds of encoder and decoder, each alone and all together as one group."""
    found = case_rows(cases_in(table, hat_cases), constants, better="low", scale=1e3)
    found["measured"] *= 1e3
    return pd.concat([found, found.assign(phase=BOTH)], ignore_index=True)


FORMATS = (
    Format(
        family="edge",
        pattern=r"edge/hat_wmt14ende_(gpu_titanxp|cpu_raspberrypi)",
        columns=COLUMNS,
        predict=predict_hat,
        unit="ms",
    ),
)
