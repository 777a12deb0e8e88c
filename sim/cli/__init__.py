"""The command `sim`: one thin file a command; each loads only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches

import click

from sim.errors import ConfigError, Infeasible
from sim.version import __version__

COMMANDS = {
    "run": "Simulate one scenario: latency, throughput, energy, and what bound it.",
    "compare": "The same workload on several systems, side by side.",
    "capacity": "The highest request rate that meets an SLO, and goodput around it.",
    "explain": "Every operator of one iteration: which unit runs it, and why.",
    "list": "What there is: devices, systems, models, scenarios, traffic, studies, papers ...",
    "show": "A resolved device, system, model, traffic or scenario with its sources.",
    "hardwire": "A model as a hardwired LPU: its chips, what they hold, how fast tokens pass.",
    "cost": "What a system costs and emits, line by line: silicon, memory, NRE, ownership, carbon.",
    "sweep": "A design-space study: many points, resumable, with its Pareto front.",
    "pareto": "The front of a finished study.",
    "report": "A finished study as one interactive HTML page, and as figures for a paper.",
    "reproduce": "Printed results of a paper beside what is simulated for them.",
    "validate": "Measured data beside what is predicted for it: errors by device and operator.",
    "calibrate": "Fit the constants of kernels to measured times again.",
    "schema": "JSON Schema of the YAML forms, for editors.",
    "trace": "Summarize, convert or generate request traces; write operator traces.",
}


class LazyGroup(click.Group):
    """Commands by name, imported when called: `--help` must not wait for numba or pandas."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded from the file of its name; None for an unknown one."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"sim.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest command named for an unknown one."""
        near = get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and near and not args[0].startswith("-"):
            ctx.fail(f"no command '{args[0]}'; did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help text's list, without loading any command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sim")
def group() -> None:
    """Simulate transformer and mixture-of-experts inference on chips built and unbuilt.

    Exit codes: 0 done, 2 wrong input, 3 infeasible design, 1 a bug of ours.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every mistake of the user is one clear message, no traceback."""
    try:
        status = group.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="sim",
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        sys.exit(2)
    except Infeasible as error:
        click.echo(f"Infeasible: {error.reason}", err=True)
        for name, value in error.numbers.items():
            click.echo(f"  {name} = {value:,.6g}", err=True)
        sys.exit(3)
    except MemoryError:
        click.echo("Infeasible: more memory is due than this machine has: ask for less", err=True)
        sys.exit(3)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left, e.g. `| head`
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(f"error: {error.filename}: {error.strerror}", err=True)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)
