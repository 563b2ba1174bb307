"""Sources of signals, a file for each place that they come from."""
