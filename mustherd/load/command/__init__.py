"""Servers and loads by command: any program as the server, any program as its load, described in a definition.

A command is a list of arguments and never goes through a shell. In its arguments words in braces stand for what only
the run knows, such as `{port}`; two braces stand for one.
"""
