"""Code and commands of a Markdown document, to be run as a reader would."""

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from click.testing import Result
from typer.testing import CliRunner

from bayescale import cli

#: Verbs that take long: read, but not run, where a stand-in is given.
LONG = {"fit", "backtest", "demo", "report"}


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and code of every fenced block, in order."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(code: str) -> list[list[str]]:
    """Arguments of every line that calls bayescale; a comment ends a line."""
    lines = [line.partition(" #")[0].strip() for line in code.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("bayescale ")]


def call(arguments: list[str]) -> Result:
    """Call a verb; what stands after ``>`` gets its output."""
    where = None
    if ">" in arguments:
        place = arguments.index(">")
        arguments, where = arguments[:place], Path(arguments[place + 1])
    done = CliRunner().invoke(cli.app, arguments)
    if where is not None:
        where.write_text(done.stdout, encoding="utf-8")
    return done


def read(arguments: list[str]) -> dict[str, object]:
    """Values of a verb's options as its parser understands them, without running it."""
    group = typer.main.get_command(cli.app)
    verb = group.commands[arguments[0]]
    return verb.make_context(arguments[0], list(arguments[1:])).params


def run_page(text: str, name: str, stand_in: Callable[[dict[str, object]], None] | None) -> str:
    """Run a page from top to bottom in the current folder, and return what it printed.

    ``stand_in`` makes the file of a fit that is asked for, given the options; without it fits are made.
    """
    scope: dict[str, object] = {}
    printed = io.StringIO()
    for language, code in blocks(text):
        if language == "python":
            with contextlib.redirect_stdout(printed):
                exec(compile(code, name, "exec"), scope)
        elif language == "toml":
            _check_model(code)
        elif language == "":
            for arguments in commands(code):
                if arguments[0] in LONG and stand_in is not None:
                    options = read(arguments)
                    if arguments[0] == "fit":
                        stand_in(options)
                    continue
                if {"--dask", "--workers"} & set(arguments):
                    read(arguments)  # no scheduler is there, and not as many cores
                    continue
                done = call(arguments)
                asked = {0, 10, 20} if arguments[0] == "budget" else {0}
                assert done.exit_code in asked, f"{' '.join(arguments)}\n{done.output}"
                printed.write(done.stdout)
    return printed.getvalue()


def _check_model(code: str) -> None:
    from bayescale.model import Model

    Model.from_toml(code)
