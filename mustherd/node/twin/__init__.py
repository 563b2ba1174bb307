"""The twin: a node without hardware, for trying an experiment before any machine is booked.

Its registers, counters and rows behave as a machine's do, its power, throughput and latency follow a queueing model
fitted to a real one (`profiles`), and its clock runs as much faster than real time as it is told to.
"""
