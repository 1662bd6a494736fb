"""The only place where everything meets: builds the services and opens the window."""

from __future__ import annotations

import argparse
import logging
import logging.handlers

from medview.core.paths import Paths
from medview.services import bundle
from medview.ui import application


def run(arguments: argparse.Namespace) -> int:
    """Open the window on `arguments.paths` and give the exit code when it is closed.

    `script` is run inside the started window, `screenshot` saves the window when it is idle and
    quits. 3 if `paths` were given and nothing of them was readable.
    """
    paths = bundle.find_paths(arguments.profile)
    paths.create()
    log_to_file(paths)
    with bundle.running(paths) as services:
        return application.show(
            services,
            [path.absolute() for path in arguments.paths],
            script=arguments.script,
            screenshot=arguments.screenshot,
        )


def log_to_file(paths: Paths) -> None:
    """Keep a log for developers in the profile, without anything that names a patient."""
    handler = logging.handlers.RotatingFileHandler(
        paths.logs / "medview.log", maxBytes=1 << 20, backupCount=3, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
