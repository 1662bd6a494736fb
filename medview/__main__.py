"""Start medview: `python -m medview`, and what the installed launcher calls."""

from __future__ import annotations

import multiprocessing
import sys


def main() -> int:
    """Run one command line; 0 if it did what it says. Sub-commands never load Qt."""
    # Child processes import this module anew. What they do not need is imported below.
    multiprocessing.freeze_support()
    from medview import cli  # noqa: PLC0415

    arguments = cli.parse(sys.argv[1:])
    if arguments.command is not None:
        return cli.run(arguments)
    from medview.app import run  # noqa: PLC0415

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
