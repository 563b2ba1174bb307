"""Searches: what to try next, given what was measured.

`base.Search` is the interface, `registry.make` makes one by name, `worker.SearchProcess` runs one in a process of its
own. Importing any module here but `gp` and `surrogate` is cheap: scikit-optimize is imported when a model is first
needed.
"""
