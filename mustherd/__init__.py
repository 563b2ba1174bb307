"""MustHerd: a herd of servers on the least energy that still meets its latency limit.

One shepherd collects, learns and decides; on every server a muster reads the logs and sets the knobs of its sheep.
"""

__version__ = "0.1.0"
