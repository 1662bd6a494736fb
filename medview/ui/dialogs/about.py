"""About: what this program is, under which licence, with whose work and which guests."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from PyQt6.QtCore import QT_VERSION_STR
from PyQt6.QtWidgets import QHBoxLayout, QTreeWidget, QTreeWidgetItem, QWidget

import medview
from medview.ui import icons, theme
from medview.ui.dialogs.frame import Dialog
from medview.ui.text import label

NOT_FOR_CLINICAL_USE = "Not for clinical use"

#: What pyproject.toml asks for.
LIBRARIES = (
    "PyQt6", "pyqt6-qt6", "pyqtgraph", "vtk", "numpy", "scipy", "numba", "SimpleITK", "nibabel",
    "pydicom", "highdicom", "pillow", "python-gdcm", "pyjpegls", "pylibjpeg",
    "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "connected-components-3d",
    "pyzipper", "imagecodecs", "av", "torch", "monai", "scikit-learn", "safetensors", "nilearn",
    "jinja2", "reportlab", "psygnal", "platformdirs", "h5py", "requests", "urllib3", "psutil",
    "captum",
)  # fmt: skip

_PURPOSE = (
    "medview shows medical images in which a model proposes and a reader decides. It is a tool for"
    " research and teaching. It is no medical device: do not use it to diagnose or treat."
)


class AboutDialog(Dialog):
    """Version, licence, libraries with their licences, loaded plug-ins."""

    def __init__(
        self, resources: Path, plugins: Sequence[str], parent: QWidget | None = None
    ) -> None:
        super().__init__("About medview", parent, size=(640, 600))
        head = QHBoxLayout()
        picture = label()
        picture.setPixmap(icons.pixmap(resources, "medview", 56, theme.colors().text))
        head.addWidget(picture)
        words = f"Version {medview.__version__}\nLicence: GPL-3.0-or-later\nQt {QT_VERSION_STR}"
        head.addWidget(label(words), 1)
        head.addWidget(label(NOT_FOR_CLINICAL_USE, "clinical"))
        self.body.addLayout(head)
        self.body.addWidget(label(_PURPOSE, wrap=True))
        guests = ", ".join(plugins) or "none"
        self.body.addWidget(label(f"Plug-ins: {guests}", "muted", wrap=True))
        self.body.addWidget(label("Libraries it stands on", "heading"))
        tree = QTreeWidget(self)
        tree.setHeaderLabels(["Library", "Version", "Licence"])
        tree.setRootIsDecorated(False)
        tree.setAccessibleName("Libraries and their licences")
        for row in libraries():
            tree.addTopLevelItem(QTreeWidgetItem(list(row)))
        tree.setColumnWidth(0, 220)
        tree.setColumnWidth(1, 110)
        self.body.addWidget(tree, 1)


def libraries() -> tuple[tuple[str, str, str], ...]:
    """Name, version and licence of the libraries, as installed."""
    rows = []
    for name in LIBRARIES:
        try:
            found = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue
        rows.append((name, metadata.version(name), _licence(found)))
    return tuple(rows)


def _licence(found: metadata.PackageMetadata) -> str:
    fields = found.json
    expression = fields.get("license_expression", "")
    if expression:
        return str(expression)
    kinds = [
        line.rsplit("::", 1)[-1].strip()
        for line in fields.get("classifier", [])
        if line.startswith("License ::")
    ]
    stated = str(fields.get("license", "")).partition("\n")[0]
    return ", ".join(kinds) or stated[:60] or "see the package"
