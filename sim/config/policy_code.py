"""Policy code: a scheduler that a scenario names as `module:function`, imported only on request.

A scenario file is data. Importing what it names runs it with the user's rights, so nothing is
imported unless whoever loads the file says so (`sim run --allow-code`, `allow_code=True`).
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sim.config.document import Document, value_at
from sim.errors import ConfigError, Key, Problem

PATH: Key = ("scheduler", "policy")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def with_policy(document: Document, *, allowed: bool) -> Document:
    """A scenario's document with the function itself where its scheduler names one."""
    try:
        name = value_at(document.data, PATH)
    except (KeyError, TypeError):
        return document
    if not isinstance(name, str):
        return document
    if not NAME.fullmatch(name):
        raise _refused("module:function is due, e.g. my_schedulers:shortest_first")
    return document.with_value(PATH, policy_of(name, allowed=allowed), document.place(PATH))


def policy_of(name: str, *, allowed: bool) -> Callable[[Any], Any]:
    """The function that `name` says, from the current folder or what is installed.

    ConfigError where it may not be imported, or isn't there.
    """
    module, _, function = name.partition(":")
    if not allowed:
        raise _refused(
            f"{name} is code: it runs with your rights, and only where you say so: "
            "`sim run SCENARIO --allow-code`, or allow_code=True in Python"
        )
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        policy = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise _refused(f"module {module} can't be imported from {folder}: {error}") from error
    finally:
        sys.path.remove(folder)
    if not callable(policy):
        raise _refused(f"module {module} has no function {function}")
    return policy  # type: ignore[no-any-return]


def _refused(message: str) -> ConfigError:
    return ConfigError([Problem(path=".".join(map(str, PATH)), message=message)])
