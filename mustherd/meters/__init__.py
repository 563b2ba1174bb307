"""Meters of whole machines: a BMC, a PDU, a wall meter, read from the shepherd's machine.

They are slow and coarse beside a processor's counters: each says how often it tells something new, how late, and how
finely, and from that comes how far off its energy over a window may be.
"""
