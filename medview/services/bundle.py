"""The services of one running program, handed to whoever needs them."""

from __future__ import annotations

from dataclasses import dataclass

from medview.core.paths import Paths
from medview.inference.catalog import Catalog
from medview.services.audit import Audit
from medview.services.commands import Registry
from medview.services.export import Export
from medview.services.history import History
from medview.services.jobs import Jobs
from medview.services.loading import Loading
from medview.services.review import ReviewDesk
from medview.services.settings import Settings
from medview.services.store import Store
from medview.services.tasks import Tasks
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace


@dataclass(frozen=True)
class Services:
    """Everything the program can do, short of drawing it. Built by `app.build`."""

    paths: Paths
    settings: Settings
    workspace: Workspace
    history: History
    review: ReviewDesk
    viewing: Viewing
    loading: Loading
    jobs: Jobs
    catalog: Catalog
    tasks: Tasks
    store: Store
    audit: Audit
    export: Export
    commands: Registry
