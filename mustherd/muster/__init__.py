"""The muster: the one process on a node that reads its logs and sets its knobs.

It shares the machine with the workload that is measured, so it is light: no numeric library, one thread, and asleep
but for heartbeats. It acts only on the knobs and ranges in its own configuration on the node.
"""
