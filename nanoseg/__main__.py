"""`python -m nanoseg`: the command line."""

from nanoseg.cli import main

if __name__ == "__main__":
    main()
