"""The tool `mustherd-node`: copied to nodes as one file (filter_plugins/mustherd_program.py)."""
