"""Types of the kernel's arrays, and record types made of annotated classes.

A record is declared once, as a class: numba and numpy read the record type that `dtype_of` makes
of it, mypy the class. Only numpy is needed here, so building tables doesn't load numba.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Protocol, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Records = npt.NDArray[np.void]
Record = Any
"""A record that Python reads by `record["name"]` and compiled code by `record.name`."""

Row = TypeVar("Row", covariant=True)


class Table(Protocol[Row]):
    """An array [n] of records with the fields of class `Row`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """How many rows, in a tuple as numpy has it."""

    def __len__(self) -> int:
        """How many rows."""

    def __getitem__(self, index: int, /) -> Row:
        """The record at `index`, which shares the table's memory."""

    def copy(self) -> Table[Row]:
        """A table with the same numbers in memory of its own."""


FORMATS: Final = {int: "i8", float: "f8", np.uint64: "u8", Floats: "f8", Ints: "i8"}


def dtype_of(row: type) -> np.dtype[np.void]:
    """Record type with the fields that `row` annotates, in order and aligned as C does.

    An array's annotation has its shape: `Annotated[Floats, 3]`. A field may be such a class itself.
    """
    fields: list[Any] = []
    for name, annotation in get_type_hints(row, include_extras=True).items():
        shape: list[Any] = []
        if get_origin(annotation) is Annotated:
            annotation, *shape = get_args(annotation)
        fields.append((name, FORMATS.get(annotation) or dtype_of(annotation), *shape))
    return np.dtype(fields, align=True)
