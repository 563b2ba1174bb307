"""The command line: one module per noun; a verb imports what it needs when it runs."""

from mustherd.cli.app import main

__all__ = ["main"]
