"""An experiment on disk: one folder, one SQLite database, one owner."""
