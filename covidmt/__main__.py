"""``python -m covidmt``, and the command ``covidmt``."""

import sys

from covidmt.rooms import foreign_room


def main() -> None:
    """Run the command line, unless other packages stand in the place of ours: that is one message, status 2."""
    hidden = foreign_room()
    if hidden:
        print(f"covidmt: {hidden}", file=sys.stderr)
        sys.exit(2)

    from covidmt.cli import main as run
    from experiments.secrets import print_exception

    sys.excepthook = print_exception
    run()


if __name__ == "__main__":
    main()
