"""The keeper: settings that follow the load of production traffic, guarded, re-tuned on drift, with a ledger.

`keeper.py` and what it is made of are pure: readings and the time go in, decisions, ledger entries and story lines come
out. What reads signals, tells a herd and keeps a store is the thin shell around it.
"""
