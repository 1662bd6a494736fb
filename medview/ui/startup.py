"""What the window does first: offering work that an unclean end left."""

from __future__ import annotations

from PyQt6.QtWidgets import QWidget

from medview.core.errors import MedviewError
from medview.services.bundle import Services
from medview.ui.bridge import Bridge
from medview.ui.dialogs.restore import RestoreDialog


def offer_restore(services: Services, bridge: Bridge, window: QWidget) -> None:
    """Ask whether to bring unfinished work back; nothing is asked where there is none."""
    offers = services.store.unfinished()
    if not offers:
        return
    dialog = RestoreDialog(offers, window)

    def restore() -> None:
        for study_uid in dialog.chosen:
            try:
                services.store.restore(study_uid)
            except MedviewError as error:
                bridge.tell(error)

    def dismiss() -> None:
        for offer in offers:
            services.store.dismiss(offer.study_uid)

    dialog.accepted.connect(restore)
    dialog.rejected.connect(dismiss)
    dialog.open()
