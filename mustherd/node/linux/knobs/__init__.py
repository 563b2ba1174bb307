"""Knobs of a Linux machine beside its clock and its card's interrupts: one kind, or one family of files, a module."""
