"""What a node offers: knobs, energy counters, native logs and a clock.

The protocols in this package are the contract; `twin` keeps it without hardware. Every implementation is run through
the same contract suites, `mustherd.testing`.
"""
