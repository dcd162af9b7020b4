"""The program `quiesce` with a state directory of its own, its first argument."""

import sys
from pathlib import Path

from quiesce import config
from quiesce.cli.main import run

if __name__ == "__main__":
    STATE_DIR = Path(sys.argv.pop(1))
    config.state_directory = lambda: STATE_DIR
    run()
