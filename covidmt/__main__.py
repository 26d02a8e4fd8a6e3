"""``python -m covidmt``, and the command ``covidmt``."""

import atexit
import os
import sys

from covidmt.rooms import foreign_room


def main() -> None:
    """Run the command line, unless other packages stand in the place of ours: that is one message, status 2."""
    hidden = foreign_room()
    if hidden:
        print(f"covidmt: {hidden}", file=sys.stderr)
        sys.exit(2)

    ended: list[int] = []
    atexit.register(_leave, ended)  # before any library's own, so that it runs after them

    from covidmt.cli import main as run
    from experiments.secrets import print_exception

    sys.excepthook = print_exception
    try:
        run()
    except SystemExit as end:
        if isinstance(end.code, int | None):
            ended.append(end.code or 0)
        raise


def _leave(ended: list[int]) -> None:
    """End the process here: to take PyTorch and the libraries around it apart would be a fifth of a short command."""
    if not ended:
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(ended[0] & 0xFF)


if __name__ == "__main__":
    main()
