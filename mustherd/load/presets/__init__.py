"""Servers and loads that people have anyway, as commands: one file each."""
