"""Form of degrees of parallelism."""

from __future__ import annotations

from sim.config.fields import Count, Form
from sim.mapping.layout import Parallel


class ParallelForm(Form):
    """Degrees of parallelism; what is left out is chosen."""

    tp: Count | None = Parallel.tp
    pp: Count | None = Parallel.pp
    ep: Count = Parallel.ep
    dp: Count | None = Parallel.dp
    attention_dp: Count = Parallel.attention_dp
