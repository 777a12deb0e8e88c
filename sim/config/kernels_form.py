"""Forms of kernels and protocols: constants fitted to measured times, in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from sim.config.fields import (
    Bandwidth,
    Factor,
    FlopEnergy,
    Form,
    Number,
    Rate,
    Reading,
    ShareOfPeak,
    SizeOrZero,
    Text,
    Time,
    wrong,
)
from sim.config.fitted_files import fitted_form
from sim.hardware.kernels import Kernels, Line, Protocols
from sim.kernel.fitted_constants import (
    DECODE_KERNEL,
    EXPERTS_KERNEL,
    MATMUL_KERNEL,
    PREFILL_KERNEL,
    VECTOR_KERNEL,
)

Amount = Annotated[Reading, Number(low=0.0, high=1e9)]
"""A number from 0."""


class FittedForm(Form):
    """On what constants were fitted, when, and how far from it they are."""

    on: tuple[Text, ...]
    date: Text
    median_error: dict[str, Text] = Field(default_factory=dict)


class MatmulForm(Form):
    """Matrix products; `fitted_constants.MATMUL_KERNEL` says what each is."""

    source: Text | None = None
    fixed: Time
    depth_time: Time
    depth: Amount
    memory: ShareOfPeak
    operands: Amount
    wave: Amount
    split: Amount
    prologue: Amount
    exposed: Amount
    small_m: Factor
    small_n: Factor
    small: ShareOfPeak
    large_m: Factor
    large_n: Factor
    large: ShareOfPeak
    vector_depth: Amount
    narrow: Time
    narrow_passes: Amount
    narrow_rate: Factor
    flop: FlopEnergy
    """Energy of a 16-bit flop at full load and the peak's clock: what is above the rated power
    lowers the clock."""
    exponent: Factor | None = None
    """Power goes as the clock to this, since voltage falls with it; 1 where it isn't given.

    Not fitted: chosen in sight of published rates under lower limits (decision 0010)."""
    boost: Amount
    """Most that clocks reach of what the peak is stated at."""


class BlocksForm(Form):
    """What products of 8-bit weights with a scale a block have instead: their own kernels."""

    source: Text | None = None
    narrow: Time
    narrow_passes: Amount
    narrow_rate: Factor


class DecodeForm(Form):
    """Attention of one new token a sequence; `fitted_constants.DECODE_KERNEL` says what each is."""

    source: Text | None = None
    fixed: Time
    unit: Time
    alone: Amount
    packed: Amount
    packed_8: Amount
    per_dim: Amount
    per_rows: Amount
    chain: Time
    chain_alone: Amount
    chain_8: Amount
    hidden_tokens: Amount
    split_tokens: Amount
    exposed: Amount
    memory: ShareOfPeak
    compute: ShareOfPeak
    cache: Bandwidth
    resident: Amount
    pack: Amount
    latent: ShareOfPeak
    mixed: Amount


class PrefillForm(Form):
    """Attention of prompts; `fitted_constants.PREFILL_KERNEL` says what each is."""

    source: Text | None = None
    fixed: Time
    tile: Factor
    fill: Amount
    pad: Amount
    pad_8: Amount
    compute: ShareOfPeak
    compute_8: ShareOfPeak
    softmax: Amount
    passes: Amount
    token: Time
    memory: ShareOfPeak
    exposed: Amount


class ExpertsForm(Form):
    """Products of experts; `fitted_constants.EXPERTS_KERNEL` says what each is."""

    source: Text | None = None
    fixed: Time
    pair: Time
    expert: Time
    memory: ShareOfPeak
    operands: Amount
    small: ShareOfPeak
    large: ShareOfPeak
    wave: Amount
    pad: Amount
    exposed: Amount


class VectorForm(Form):
    """Element-wise operators; `fitted_constants.VECTOR_KERNEL` says what each is."""

    source: Text | None = None
    fixed: Time
    memory: ShareOfPeak
    exposed: Amount
    cached: Factor | None = None
    """Bandwidth reached with what is in the cache, over the memory's; `memory` where nothing
    measured tells them apart."""
    resident: Amount | None = None


class CoresForm(Form):
    """What an SM does a clock: fp32 multiply-adds, and 16-bit flops of matrix products."""

    source: Text | None = None
    lanes: Factor
    matrix: Factor


class ScaleForm(Form):
    """What an SM has of the device that times are of: from another's they follow.

    Its clock, share of the memory's bandwidth, and 16-bit flops a clock at the stated peak.
    """

    source: Text | None = None
    clock: Rate
    stream: Bandwidth
    flops: Factor


class KernelsForm(Form):
    """Kernels of a family of devices."""

    title: Text
    name: Text | None = None
    source: Text
    fitted: FittedForm
    matmul: MatmulForm
    decode: DecodeForm
    prefill: PrefillForm
    experts: ExpertsForm
    vector: VectorForm
    blocks: BlocksForm | None = None
    cores: CoresForm | None = None
    scale: ScaleForm | None = None

    @model_validator(mode="after")
    def _scaled(self) -> KernelsForm:
        if self.scale is not None and self.cores is None:
            raise wrong("`scale` needs `cores`, from which a device's clock follows", "scale")
        return self


class LineForm(Form):
    """One protocol."""

    launch: Time
    hop: Time
    share: ShareOfPeak


class SwitchForm(Form):
    """When a library turns to the protocol for long messages."""

    floor: Time
    time: Time
    steps: Amount


class ShotForm(Form):
    """All-reduces in one shot: few blocks of threads, or all of them; `up_to` a message's size."""

    few: LineForm
    all: LineForm
    up_to: SizeOrZero


class ProtocolsForm(Form):
    """Collectives of a family of links. The last protocol is for long ones."""

    title: Text
    name: Text | None = None
    source: Text
    fitted: FittedForm
    reductions: dict[str, LineForm]
    all_to_all: dict[str, LineForm]
    send: dict[str, LineForm]
    copy_share: Amount
    switch: SwitchForm
    shot: ShotForm | None = None


_FIELDS = {
    "matmul": MATMUL_KERNEL,
    "decode": DECODE_KERNEL,
    "prefill": PREFILL_KERNEL,
    "experts": EXPERTS_KERNEL,
    "vector": VECTOR_KERNEL,
}
_RENAMED = {
    "depth_time": "depth_s", "cache": "cache_B_per_s", "flop": "flop_J", "boost": "boost",
}  # fmt: skip


def _numbers(form: BaseModel, section: str) -> dict[str, float]:
    """Numbers of a section by the fields of its record, which end in their unit."""
    known = _FIELDS[section].names or ()
    found: dict[str, float] = {}
    for key in type(form).model_fields:
        reading = getattr(form, key)
        if isinstance(reading, Reading):
            name = _RENAMED.get(key, key)
            timed = name not in known and f"{name}_s" in known
            found[f"{name}_s" if timed else name] = reading.value
    return found


def to_kernels(form: KernelsForm, name: str) -> Kernels:
    """The kernels of a form."""
    sections = {section: _numbers(getattr(form, section), section) for section in _FIELDS}
    blocks = {} if form.blocks is None else _numbers(form.blocks, "matmul")
    cores = form.cores and {"lanes": form.cores.lanes.value, "matrix": form.cores.matrix.value}
    scale = form.scale and {
        "clock_Hz": form.scale.clock.value, "stream_B_per_s": form.scale.stream.value,
        "flops": form.scale.flops.value,
    }  # fmt: skip
    return Kernels(
        name=form.name or name, fitted_on=form.fitted.on, blocks=blocks, cores=cores or {},
        scale=scale or {}, **sections,
    )  # fmt: skip


def _lines(forms: dict[str, LineForm]) -> tuple[Line, ...]:
    return tuple(
        Line(launch_s=each.launch.value, hop_s=each.hop.value, share=each.share.value)
        for each in forms.values()
    )


def to_protocols(form: ProtocolsForm, name: str) -> Protocols:
    """The protocols of a form."""
    shot = form.shot
    return Protocols(
        name=form.name or name,
        reductions=_lines(form.reductions),
        all_to_all=_lines(form.all_to_all),
        send=_lines(form.send),
        copy=form.copy_share.value,
        switch_floor_s=form.switch.floor.value,
        switch_s=form.switch.time.value,
        switch_steps=form.switch.steps.value,
        shot=() if shot is None else _lines({"few": shot.few, "all": shot.all}),
        shot_B=0.0 if shot is None else shot.up_to.value,
        fitted_on=form.fitted.on,
    )


def load_kernels(name: str, base: Path | None = None, *, without: str = "") -> Kernels:
    """The kernels of a name or a path; `without` as in `fitted_form`."""
    stem, form, _ = fitted_form("kernels", KernelsForm, name, base, without=without)
    return to_kernels(form, stem)


def load_protocols(name: str, base: Path | None = None, *, without: str = "") -> Protocols:
    """The protocols of a name or a path; `without` as in `fitted_form`."""
    stem, form, _ = fitted_form("protocols", ProtocolsForm, name, base, without=without)
    return to_protocols(form, stem)
