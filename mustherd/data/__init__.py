"""Reading an experiment back: `mustherd.data.open(folder)` gives its trials and logs, units in the names.

Logs are read when they are asked for, a batch at a time where it matters; see `Log`. `merged`, `differences` and
`windows` are what most questions about rows need; `merged_frames` and `differences_of` do the same in bounded memory.
`training` and `fit` learn latency from rows.
"""

from mustherd.data.latency import LatencyModel, fit, training
from mustherd.rowlog.folder import ExperimentFolder, open_folder
from mustherd.rowlog.frames import differences, differences_of, medians, merged, merged_frames, windows
from mustherd.rowlog.reader import DataError, Log

open = open_folder

__all__ = [
    "DataError",
    "ExperimentFolder",
    "LatencyModel",
    "Log",
    "differences",
    "differences_of",
    "fit",
    "medians",
    "merged",
    "merged_frames",
    "open",
    "training",
    "windows",
]
