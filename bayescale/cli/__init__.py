"""The command line: the verbs of the package, one function each."""

from bayescale.cli.verbs import app, main

__all__ = ["app", "main"]
