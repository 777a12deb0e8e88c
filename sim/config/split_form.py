"""Form of experts apart from attention: their system, the link to it, and microbatches."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from sim.config.fields import Count, Form, wrong
from sim.config.fleet_form import TransferForm
from sim.hardware import Link, System
from sim.mapping.layout import Split


def _system(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise wrong("a name, a path, or the system itself written inline is due")
    return value


class SplitForm(Form):
    """Routed experts run on `experts`, all else on the scenario's system."""

    experts: Annotated[Any, BeforeValidator(_system)]
    link: TransferForm
    microbatches: Count = Split.microbatches

    def value(self, experts: System) -> Split:
        """The split, its system loaded."""
        return Split(system=experts, link=link_of(self.link), microbatches=self.microbatches)


def link_of(form: TransferForm) -> Link:
    """A link that is written out, of one port."""
    return Link(
        name="transfer",
        bandwidth_B_per_s=form.bandwidth.value,
        latency_s=form.latency.value,
        efficiency=1.0 if form.efficiency is None else form.efficiency.value,
        energy_J_per_B=None if form.energy is None else form.energy.value,
    )
