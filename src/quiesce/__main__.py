"""`python -m quiesce`: the host's program."""

from quiesce.cli.main import run

if __name__ == "__main__":
    run()
