"""The example package is tested where it is installed: by test_example_package.py, in a process of its own."""

collect_ignore = ["example"]
