"""`python -m mustherd` is the same as `mustherd`."""

from mustherd.cli import main

if __name__ == "__main__":
    main()
