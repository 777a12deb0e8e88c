"""numba, set up once: cached compilation in a folder named by the digest of the kernel's sources.

numba's cache notices a change in the file of a compiled function, but not in another file that the
function calls into; a folder per digest of all of them makes a stale result impossible.
"""

from __future__ import annotations

import gc
import hashlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import platformdirs


def cache_folder() -> Path:
    """Folder of compiled code for exactly these sources on this interpreter and machine."""
    digest = hashlib.blake2b(digest_size=12)
    here = Path(__file__).parent
    for source in sorted(here.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    digest.update(f"{sys.version}{platform.machine()}{here}".encode())
    return Path(platformdirs.user_cache_dir("opb-sim")) / digest.hexdigest()


def cold() -> bool:
    """Whether nothing is compiled yet: what is asked for first takes some 40 s more."""
    return not any(Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbi"))


if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(cache_folder())

import numba  # noqa: E402  (reads the environment when it is imported)
import numba.extending  # noqa: E402

settings: Any = numba.config
if not settings.CACHE_DIR:  # numba was imported before us
    settings.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]


class _Compilation(numba.core.event.Listener):
    """Leaves the garbage collector off while functions compile: they make many objects, all kept.

    Saves about a seventh of the first run. `tell` is called before the first one.
    """

    def __init__(self) -> None:
        self.depth, self.was_on = 0, False
        self.tell: Callable[[], None] | None = None

    def on_start(self, event: object) -> None:
        """A function begins to compile, perhaps for another that does."""
        if self.tell is not None:
            tell, self.tell = self.tell, None
            tell()
        if self.depth == 0:
            self.was_on = gc.isenabled()
            gc.disable()
        self.depth += 1

    def on_end(self, event: object) -> None:
        """It has compiled, or failed to."""
        self.depth -= 1
        if self.depth == 0 and self.was_on:
            gc.enable()


events: Any = numba.core.event
_compilation = _Compilation()
events.register("numba:compile", _compilation)


def when_cold(tell: Callable[[], None]) -> None:
    """Calls `tell` when the first function compiles, if nothing has ever been compiled."""
    _compilation.tell = tell if cold() else None


def _roomy(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """`compile_`, with a megabyte of Python's stack for what it calls.

    CPython keeps frames in chunks of 16 KiB and maps a new one whenever a call crosses the end of
    one. Where that is the innermost call of numba's passes over a large function, the kernel takes
    8 s more to compile; it depends on how deep the stack happens to be. A frame as large as this
    has a chunk of its own, of which half is left.
    """

    def call(*arguments: Any, **named: Any) -> Any:
        return compile_(*arguments, **named)

    call.__code__ = call.__code__.replace(co_stacksize=1 << 17)
    return call


Function = TypeVar("Function", bound=Callable[..., Any])
prange = numba.prange
intrinsic: Any = numba.extending.intrinsic
code_generation: Any = numba.core.cgutils
types = numba.types


@overload
def njit(function: Function) -> Function: ...


@overload
def njit(
    *, inline: Literal["never", "always"] = "never", parallel: bool = False, counted: bool = False
) -> Callable[[Function], Function]: ...


def njit(
    function: Callable[..., Any] | None = None,
    *,
    inline: Literal["never", "always"] = "never",
    parallel: bool = False,
    counted: bool = False,
) -> Callable[..., Any]:
    """`numba.njit` with the disk cache on, division as in C, and sums in the order written.

    Small laws are inlined by numba ("always"): leaving it to LLVM made sweeps 2.5 times slower.
    References to arrays are counted only in a function that is `counted`: doing so took a third of
    a sweep on one thread, more on two that count the same ones, and an eighth of compiling. What
    makes an array, or calls what returns a new one, has to be (numba refuses the former else).
    """
    options: dict[str, Any] = {"inline": inline, "parallel": parallel, "_nrt": counted}

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher: Any = numba.njit(cache=True, error_model="numpy", **options)(function)
        dispatcher.compile = _roomy(dispatcher.compile)
        return dispatcher

    return compiled if function is None else compiled(function)
