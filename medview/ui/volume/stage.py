"""Stage: brings the 3D scene step by step to what is wished, beside the window."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import Cancelled, MedviewError
from medview.core.segmentation import Segmentation
from medview.core.volume import Volume
from medview.services.tasks import Tasks
from medview.ui.volume.shot import Shot

if TYPE_CHECKING:
    from medview.ui.volume.scene import Scene


@dataclass(frozen=True, eq=False)
class Wish:
    """What the scene is to hold and to show."""

    volume: Volume
    segmentations: tuple[Segmentation, ...]
    shot: Shot


class Stage:
    """One scene, worked on by one background task at a time.

    `advance(wish)` starts the next step towards a wish unless a step is under way; `on_step` is
    called, on the owner's thread, after each. `picture` is the newest picture, `failed` says in
    words why there will be none.
    """

    def __init__(self, tasks: Tasks, on_step: Callable[[], object]) -> None:
        self.picture: npt.NDArray[np.uint8] | None = None
        self.failed = ""
        self._tasks = tasks
        self._on_step = on_step
        self._scene: Scene | None = None
        self._busy = False
        self._volume_uid = ""
        self._revisions: dict[str, int] = {}
        self._drawn: Shot | None = None

    @property
    def busy(self) -> bool:
        """Whether a step is under way."""
        return self._busy

    @property
    def software(self) -> bool:
        """Whether pictures are drawn without a graphics processor; True until it is known."""
        return self._scene is None or self._scene.software

    def advance(self, wish: Wish) -> bool:
        """Start what is missing most; False if nothing is, or something is under way."""
        if self._busy or self.failed:
            return False
        if self._scene is None:
            self._run(_open_scene, on_done=self._opened)
        elif self._volume_uid != wish.volume.uid:
            self._take_over(self._scene, wish.volume)
        elif wish.shot.draft and wish.shot != self._drawn:
            self._draw(self._scene, wish.shot)
        elif not self._build(self._scene, wish.segmentations):
            if wish.shot == self._drawn:
                return False
            self._draw(self._scene, wish.shot)
        return True

    def forget(self) -> None:
        """Let go of volume and surfaces."""
        if self._scene is None or self._busy or not self._volume_uid:
            return
        self._volume_uid = ""
        self._reset()
        self._run(self._scene.clear)

    def abort(self) -> None:
        """Give up the picture being drawn, as a newer one is wanted."""
        if self._scene is not None and self._busy:
            self._scene.abort()

    def _reset(self) -> None:
        self._revisions = {}
        self._drawn = None
        self.picture = None

    def _opened(self, scene: Scene) -> None:
        self._scene = scene

    def _take_over(self, scene: Scene, volume: Volume) -> None:
        self._reset()

        def took_over(_nothing: object) -> None:
            self._volume_uid = volume.uid

        self._run(scene.show_volume, volume, on_done=took_over)

    def _build(self, scene: Scene, segmentations: tuple[Segmentation, ...]) -> bool:
        present = {segmentation.uid for segmentation in segmentations}
        if not set(self._revisions) <= present:
            self._revisions = {u: r for u, r in self._revisions.items() if u in present}
            scene.keep_surfaces(present)
        for segmentation in segmentations:
            uid = segmentation.uid
            if self._revisions.get(uid) == segmentation.revision:
                continue

            def built(revision: int, uid: str = uid) -> None:
                self._revisions[uid] = revision
                self._drawn = None

            self._run(scene.build_surfaces, segmentation, on_done=built)
            return True
        return False

    def _draw(self, scene: Scene, shot: Shot) -> None:
        def drawn(picture: npt.NDArray[np.uint8] | None) -> None:
            if picture is not None:
                self.picture = picture
                self._drawn = shot

        self._run(scene.draw, shot, on_done=drawn)

    def _run(
        self,
        function: Callable[..., Any],
        *arguments: object,
        on_done: Callable[[Any], object] = lambda _nothing: None,
    ) -> None:
        self._busy = True

        def done(result: Any) -> None:
            self._busy = False
            on_done(result)
            self._on_step()

        self._tasks.run(function, *arguments, on_done=done, on_error=self._fail)

    def _fail(self, error: MedviewError) -> None:
        self._busy = False
        if not isinstance(error, Cancelled):
            self.failed = f"{error.user_text}\n{error.hint}".strip()
        self._on_step()


def _open_scene() -> Scene:
    """The first use of VTK: its import takes most of a second, and happens here, aside."""
    _load_libraries()
    from medview.ui.volume.scene import Scene  # noqa: PLC0415

    return Scene()


def _load_libraries() -> None:
    """Load VTK's libraries without stopping the interpreter for all other threads.

    An import holds the interpreter while the system links a hundred libraries; a call through
    ctypes does not, and the import then finds them loaded. On other systems the import does it.
    """
    if os.name != "posix":
        return
    load = ctypes.CDLL(None).dlopen
    load.restype = ctypes.c_void_p
    load.argtypes = [ctypes.c_char_p, ctypes.c_int]
    for name in ("vtkmodules.vtkRenderingOpenGL2", "vtkmodules.vtkRenderingVolumeOpenGL2"):
        found = importlib.util.find_spec(name)
        if found is not None and found.origin:
            load(os.fsencode(found.origin), os.RTLD_NOW)
