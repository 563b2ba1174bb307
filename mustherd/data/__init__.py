"""Reading an experiment back: `mustherd.data.open(folder)` gives its trials and logs, units in the names.

Logs are read when they are asked for, a batch at a time where it matters; see `Log`. `merged`, `differences` and
`windows` are what most questions about rows need.
"""

from mustherd.rowlog.folder import ExperimentFolder, open_folder
from mustherd.rowlog.frames import differences, merged, windows
from mustherd.rowlog.reader import DataError, Log

open = open_folder

__all__ = ["DataError", "ExperimentFolder", "Log", "differences", "merged", "open", "windows"]
