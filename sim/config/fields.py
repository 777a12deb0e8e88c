"""Fields of pydantic forms: what a YAML value may be, as `sim.quantities` reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from sim import quantities
from sim.errors import ConfigError
from sim.quantities import Leaf, one_of
from sim.values import leaf_in


class Form(BaseModel):
    """What a YAML mapping may have: unknown keys are errors, and nothing changes once read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, use_attribute_docstrings=True
    )


def wrong(message: str, *at: str) -> PydanticCustomError:
    """An error whose message reaches the user as it is; `at` is the key within what is checked."""
    return PydanticCustomError("config", "{message}", {"message": message, "at": at})


def _reader(leaf: Leaf) -> Callable[[Any], Any]:
    """How pydantic reads a value as `leaf` does."""

    def read(value: Any) -> Any:
        try:
            return leaf.read(value)
        except ConfigError as error:
            raise wrong(str(error)) from None

    return read


def _leaf(hint: Any) -> Leaf:
    leaf = leaf_in(hint)
    assert leaf is not None
    return leaf


Text = Annotated[str, BeforeValidator(_reader(_leaf(quantities.Text)))]
Count = Annotated[int, BeforeValidator(_reader(_leaf(quantities.Count)))]
"""A whole number from 1."""
Index = Annotated[int, BeforeValidator(_reader(_leaf(quantities.Index)))]
"""A whole number from 0."""
Flag = Annotated[bool, BeforeValidator(_reader(_leaf(quantities.Flag)))]


def named(*names: str) -> tuple[BeforeValidator, WithJsonSchema]:
    """Marks of a text that is one of a few names."""
    leaf = one_of(*names)
    return BeforeValidator(_reader(leaf)), WithJsonSchema(dict(leaf.schema))
