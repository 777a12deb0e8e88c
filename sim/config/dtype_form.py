"""Forms of number formats."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from sim.config.fields import Count, Form, OneOf
from sim.dtypes import BITS, CODES, SCALES, Grouped

DType = Annotated[str, OneOf(names=tuple(BITS))]
Scale = Annotated[str, OneOf(names=SCALES)]


class GroupedForm(Form):
    """Keys and values as codes, every `group` of them with a scale and perhaps a zero point."""

    codes: Annotated[str, OneOf(names=tuple(CODES))]
    group: Count
    scale: Scale = Grouped.scale
    zero: Scale | None = None


def _shape(value: Any) -> str:
    return "groups" if isinstance(value, dict | GroupedForm) else "name"


KVType = Annotated[
    Annotated[DType, Tag("name")] | Annotated[GroupedForm, Tag("groups")], Discriminator(_shape)
]
"""A format's name, or codes in groups; an error speaks of what was written."""


class DTypeForm(Form):
    """Number formats; what is left out is the model's own (weights, experts) or fp16."""

    weights: DType | None = None
    kv: KVType | None = None
    activations: DType | None = None
    experts: DType | None = None


def kv_of(form: DTypeForm) -> str | Grouped:
    """The format of keys and values."""
    if isinstance(form.kv, GroupedForm):
        return Grouped(**form.kv.model_dump())
    return form.kv or "fp16"
