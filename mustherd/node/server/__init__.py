"""The workload's process as a sheep: a node on any Linux machine, without special hardware.

Its knobs are what every kernel offers for one process: how many threads it has, how many cores it may use, how much
time on them, and how long the network stack polls before it sleeps. What a machine doesn't let this user set is not
offered, and the node's facts say why.
"""
