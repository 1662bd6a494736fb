"""What the values of volumes mean: the scale each is shown in, where its files offer several."""

from __future__ import annotations

from medview.core.errors import CommandError
from medview.core.events import StudyClosed
from medview.core.volume import Volume
from medview.services.workspace import Workspace


class Scales:
    """Puts volumes on another of their scales: all that asks for values gets the new ones."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._as_read: dict[str, Volume] = {}
        workspace.events.study_closed.connect(self._forget)

    def names(self, volume_uid: str) -> tuple[str, ...]:
        """The scales of a volume by name, the one it was opened in first."""
        volume = self._base(volume_uid)
        return (volume.scale_name, *(scale.name for scale in volume.scales))

    def choose(self, volume_uid: str, name: str) -> None:
        """Put a volume on the scale of that name; CommandError if it is not offered."""
        try:
            volume = self._base(volume_uid).on_scale(name)
        except KeyError:
            names = ", ".join(self.names(volume_uid))
            raise CommandError(
                f"The image has no values “{name}”", f"There are: {names}."
            ) from None
        self._as_read[volume_uid] = self._base(volume_uid)
        self._workspace.add_volume(volume)

    def following(self, volume_uid: str) -> str:
        """The scale after the one in force; after the last comes the first."""
        names = self.names(volume_uid)
        now = self._workspace.volumes[volume_uid].scale_name
        return names[(names.index(now) + 1) % len(names)]

    def _base(self, volume_uid: str) -> Volume:
        """The volume as it was read."""
        return self._as_read.get(volume_uid) or self._workspace.volumes[volume_uid]

    def _forget(self, _event: StudyClosed) -> None:
        for uid in self._as_read.keys() - self._workspace.volumes.keys():
            del self._as_read[uid]
