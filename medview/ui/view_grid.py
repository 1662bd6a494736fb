"""The views in the middle, laid out as `viewing.layout` says."""

from __future__ import annotations

from pathlib import Path

from PyQt6.QtCore import Qt, QTimer
from PyQt6.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from medview.core.events import (
    ClipLoaded,
    LoadingChanged,
    StudyClosed,
    StudyOpened,
    ViewChanged,
    VolumeLoaded,
)
from medview.core.views import Plane
from medview.services.bundle import Services
from medview.ui import icons, theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.cine_bar import CineBar
from medview.ui.dialogs.about import NOT_FOR_CLINICAL_USE
from medview.ui.slice_view import SliceView
from medview.ui.text import label
from medview.ui.timeline import Timeline
from medview.ui.volume_view import VolumeView

_VOLUME = "volume"

#: The window is on the screen by then.
_PREPARE_MS = 300


class ViewGrid(QStackedWidget):
    """A welcome page while nothing is open, then the views of the layout, divided by handles."""

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._bridge = bridge
        self._rows: tuple[tuple[str, ...], ...] = ()
        self._before_volume = "four"
        self.views: dict[str, SliceView | VolumeView] = {}
        self._welcome = Welcome(services.paths.resources, bridge, self)
        self._page = QWidget(self)
        column = QVBoxLayout(self._page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self._split = QSplitter(Qt.Orientation.Vertical, self._page)
        self._split.setChildrenCollapsible(False)
        self._split.setHandleWidth(3)
        column.addWidget(self._split, 1)
        column.addWidget(CineBar(services, bridge, self._page))
        column.addWidget(Timeline(services, bridge, self._page))
        self.addWidget(self._welcome)
        self.addWidget(self._page)
        bridge.changed.connect(self._on_changed)
        bridge.reading.connect(self._welcome.show_busy)
        self._refresh()
        # Made while nobody waits, a view has the first image sooner.
        self._preparing = QTimer(self)
        self._preparing.setSingleShot(True)
        self._preparing.timeout.connect(self._prepare)
        self._preparing.start(_PREPARE_MS)

    @property
    def active(self) -> SliceView | VolumeView | None:
        """The view that keys act on."""
        name = self._services.viewing.active_plane.value
        view = self.views.get(name)
        if view is not None and view.isVisible():
            return view
        return next((one for one in self.views.values() if one.isVisible()), None)

    @property
    def volume_view(self) -> VolumeView | None:
        """The 3D view, if it was ever wanted."""
        view = self.views.get(_VOLUME)
        return view if isinstance(view, VolumeView) else None

    def close_views(self) -> None:
        """Stop drawing; before the program ends."""
        self._preparing.stop()
        if self.volume_view is not None:
            self.volume_view.close_scene()

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(
            ViewChanged, VolumeLoaded, ClipLoaded, StudyOpened, StudyClosed, LoadingChanged
        ):
            self._refresh()

    def _refresh(self) -> None:
        services = self._services
        has_series = bool(services.viewing.series_uid) or services.viewing.picture is not None
        self.setCurrentWidget(self._page if has_series else self._welcome)
        rows = services.viewing.layout.rows
        if has_series and rows != self._rows:
            self._lay_out(rows)

    def _lay_out(self, rows: tuple[tuple[str, ...], ...]) -> None:
        self._rows = rows
        for view in self.views.values():
            view.setParent(None)
        while self._split.count():
            old = self._split.widget(0)
            if old is not None:
                old.setParent(None)
                old.deleteLater()
        for names in rows:
            row = QSplitter(Qt.Orientation.Horizontal, self._split)
            row.setChildrenCollapsible(False)
            row.setHandleWidth(3)
            for name in names:
                view = self._view(name)
                row.addWidget(view)
                view.show()
            row.setSizes([1000] * len(names))
            row.show()
        self._split.setSizes([1000] * len(rows))

    def _prepare(self) -> None:
        view = self._view(Plane.AXIAL.value)
        if isinstance(view, SliceView):
            view.fetch_pens()

    def _view(self, name: str) -> SliceView | VolumeView:
        if name not in self.views:
            if name == _VOLUME:
                volume_view = VolumeView(self._services)
                volume_view.maximise.connect(self._toggle_volume)
                self.views[name] = volume_view
            else:
                self.views[name] = SliceView(self._services, Plane(name), self._bridge.start)
                self.views[name].setAccessibleName(f"{name.capitalize()} view")
        return self.views[name]

    def _toggle_volume(self) -> None:
        """Give the 3D view all the room, or go back."""
        layout = self._services.viewing.layout.name
        if layout != _VOLUME:
            self._before_volume = layout
        self._bridge.run("layout.set", name=self._before_volume if layout == _VOLUME else _VOLUME)


class Welcome(QWidget):
    """What to do first, and that this is no medical device."""

    def __init__(self, resources: Path, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        mark = label()
        mark.setPixmap(icons.pixmap(resources, "medview", 72, theme.colors().text))
        mark.setAlignment(Qt.AlignmentFlag.AlignCenter)
        title = label("Drop a folder, files or a zip here", "title")
        title.setAlignment(Qt.AlignmentFlag.AlignCenter)
        kinds = label(
            "DICOM (also DICOMDIR and compressed), NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF, "
            "MP4, AVI, MOV, GIF",
            "muted",
            wrap=True,
        )
        kinds.setAlignment(Qt.AlignmentFlag.AlignCenter)
        row = QHBoxLayout()
        row.addStretch(1)
        for text, name, command_id, role in (
            ("Open folder …", "folder", "study.open_folder", "primary"),
            ("Open files …", "file", "study.open_files", ""),
        ):
            button = QPushButton(text, self)
            button.setIcon(icons.icon(resources, name))
            theme.set_role(button, role)
            button.clicked.connect(lambda _on, name=command_id: bridge.start(name))
            row.addWidget(button)
        row.addStretch(1)
        self._busy = QProgressBar(self)
        self._busy.setRange(0, 0)
        self._busy.setFormat("Reading …")
        self._busy.setAccessibleName("Reading files")
        self._busy.setMaximumWidth(320)
        note = label(f"{NOT_FOR_CLINICAL_USE}. A tool for research and teaching.", "caution")
        note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column = QVBoxLayout(self)
        column.setSpacing(14)
        column.addStretch(2)
        for widget in (mark, title, kinds):
            column.addWidget(widget)
        column.addLayout(row)
        column.addWidget(self._busy, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(2)
        column.addWidget(note)
        column.addSpacing(10)
        self.show_busy(False)

    def show_busy(self, busy: bool) -> None:
        """Say that files are being read."""
        policy = self._busy.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._busy.setSizePolicy(policy)
        self._busy.setVisible(busy)
