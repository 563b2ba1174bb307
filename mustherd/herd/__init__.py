"""The herd's rules as pure state machines: events and the time go in, actions come out.

No sockets, no clock of their own, no threads: the shells in `mustherd.shepherd` and `mustherd.muster` feed them, and
tests drive them through loss, duplication, reordering and restarts without a network.
"""
