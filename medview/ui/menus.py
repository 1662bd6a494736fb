"""What stands where: the order of menus and toolbar, and the icon of each command.

Only ids: titles, keys and help come from the commands. A command whose menu is not listed here
is put at the end of the menu it names itself.
"""

from __future__ import annotations

#: Entries of a menu: a command id, "" for a line, or a sub-menu as (title, entries).
Entries = tuple["str | tuple[str, Entries]", ...]

MENUS: tuple[tuple[str, Entries], ...] = (
    (
        "File",
        (
            "study.open_folder", "study.open_files", "study.close", "", "study.restore",
            "study.problems", "study.bring_in", "", "view.screenshot", "", "app.quit",
        ),
    ),
    (
        "Edit",
        ("edit.undo", "edit.redo", "", "reader.change", "app.preferences"),
    ),
    (
        "View",
        (
            "layout.one", "layout.mpr", "layout.four", "layout.volume", "view.maximise", "",
            (
                "Images",
                (
                    "view.scroll", "view.previous", "view.forward", "view.back", "view.first",
                    "view.last", "", "series.next", "series.previous", "", "view.next_volume",
                    "view.previous_volume", "", "view.crosshair", "view.crosshair_left",
                    "view.crosshair_right", "view.crosshair_up", "view.crosshair_down",
                ),
            ),
            (
                "Window",
                (
                    "view.window", "view.full_range", "", "view.window_1", "view.window_2",
                    "view.window_3", "view.window_4", "view.window_5", "view.window_6",
                    "view.window_7", "view.window_8", "view.window_9", "", "view.invert",
                    "volume.values",
                ),
            ),
            (
                "Zoom, flip and turn",
                (
                    "view.zoom", "view.zoom_out", "view.fit", "", "view.flip",
                    "view.flip_vertical", "view.turn", "view.turn_left",
                ),
            ),
            (
                "Clip",
                (
                    "clip.toggle", "clip.play", "clip.pause", "", "clip.step", "clip.step_back",
                    "", "clip.faster", "clip.slower", "clip.speed", "", "clip.sweep",
                ),
            ),
            "", "view.segments", "view.overlays", "view.presentation", "view.crosshair_lines",
            "view.text", "", "view.reset",
        ),
    ),
    (
        "Tools",
        (
            "tool.window", "tool.pan", "tool.zoom", "tool.crosshair", "", "tool.brush",
            "tool.eraser", "tool.contour", "tool.wire", "tool.scissors", "tool.trace", "",
            "tool.include", "tool.exclude", "tool.frame", "",
            "tool.track", "tool.box",
        ),
    ),
    (
        "Segment",
        (
            "segment.add", "segment.import", "segment.show", "segment.delete", "",
            "segment.paint", "segment.erase", "",
            ("Brush",
             ("brush.larger", "brush.smaller", "brush.size", "brush.sphere", "brush.edges",
              "brush.erase_all", "brush.scissors")),
            ("Where edits reach", ("segment.mask", "segment.overlap")), "",
            "segment.threshold", "segment.grow", "segment.accept", "segment.drop", "",
            ("Marks", ("segment.prompt", "segment.prompt_back", "segment.prompt_solid")), "",
            "segment.between", "segment.fill", "segment.trace",
            ("Islands",
             ("segment.keep_largest", "segment.keep_here", "segment.remove_small",
              "segment.split", "segment.divide")),
            ("Shape",
             ("segment.smooth", "segment.margin", "segment.hollow", "segment.mirror",
              "segment.complement", "segment.combine")), "",
            "segment.copy", "segment.copy_slice", "segment.paste", "",
            "segment.classify", "segment.lock", "segment.state", "segment.report", "",
            "segment.cancel",
        ),
    ),
    (
        "Track",
        (
            "track.point", "", "track.follow", "track.uncorrect", "", "track.report",
            "track.save_table", "", "track.delete",
        ),
    ),
    (
        "AI",
        (
            "ai.run", "ai.cancel", "", "ai.uncertainty", "ai.saliency", "ai.probability",
            "ai.quantity", "", "ai.read_first",
            "ai.reveal", "", "ai.compare", "ai.compare_original", "ai.origin", "", "ai.card",
            "ai.rules", "ai.add_model", "ai.trust", "ai.remove_model", "",
            "case.next", "case.collect", "train.watch",
        ),
    ),
    (
        "Report",
        (
            "finding.next", "finding.previous", "", "finding.accept", "finding.edit",
            "finding.reject", "finding.reject_for", "finding.merge", "finding.accept_all", "",
            "reading.finish", "reading.agreement", "", "report.begin",
            "report.add_key_image", "report.illustrate", "report.critical", "", "report.release",
            "report.sign", "report.amend", "report.versions", "", "report.copy", "report.print",
            "report.export",
        ),
    ),
    (
        "Window",
        (
            "window.studies", "window.ai", "window.segments", "window.findings", "window.report",
            "", "app.notices", "", "app.fullscreen",
        ),
    ),
    ("Help", ("help.manual", "help.keys", "app.palette", "", "help.about")),
)  # fmt: skip

#: The toolbar: command ids, "" for a gap.
TOOLBAR = (
    "study.open_folder", "study.open_files", "", "edit.undo", "edit.redo", "", "layout.one",
    "layout.mpr", "layout.four", "layout.volume", "", "tool.window", "tool.pan", "tool.zoom",
    "tool.crosshair", "tool.brush", "tool.eraser", "tool.track", "tool.box", "", "clip.toggle", "",
    "view.invert", "view.reset", "view.segments", "", "ai.run", "ai.read_first",
    "ai.uncertainty", "ai.saliency", "", "report.add_key_image", "report.sign", "report.export",
)  # fmt: skip

#: Commands that need an answer before anything happens: marked with three dots.
QUESTIONS = frozenset(
    {
        "study.open_folder", "study.open_files", "finding.edit", "finding.accept_all",
        "finding.reject_for", "report.critical",
        "report.sign", "report.export", "reader.change", "volume.values", "view.presentation",
        "ai.add_model", "ai.trust", "ai.remove_model", "segment.import", "segment.classify",
        "ai.reveal", "case.collect", "case.next",
    }
)  # fmt: skip

ICONS = {
    "study.open_folder": "folder",
    "study.open_files": "file",
    "study.close": "close",
    "study.problems": "warning",
    "edit.undo": "undo",
    "edit.redo": "redo",
    "layout.one": "layout-one",
    "layout.mpr": "layout-mpr",
    "layout.four": "layout-four",
    "layout.volume": "cube",
    "tool.window": "window",
    "tool.pan": "pan",
    "tool.zoom": "zoom",
    "tool.crosshair": "crosshair",
    "tool.brush": "brush",
    "tool.eraser": "eraser",
    "tool.track": "track",
    "tool.box": "box",
    "tool.contour": "contour",
    "tool.wire": "wire",
    "tool.scissors": "scissors",
    "tool.trace": "trace",
    "tool.include": "include",
    "tool.exclude": "exclude",
    "tool.frame": "frame",
    "segment.lock": "lock",
    "segment.accept": "check",
    "segment.drop": "cross",
    "segment.cancel": "stop",
    "track.delete": "trash",
    "track.report": "report",
    "segment.report": "report",
    "brush.sphere": "sphere",
    "clip.toggle": "play",
    "clip.play": "play",
    "clip.pause": "pause",
    "clip.step": "frame-on",
    "clip.step_back": "frame-back",
    "clip.sweep": "sweep",
    "view.invert": "invert",
    "view.reset": "reset",
    "view.segments": "layers",
    "view.screenshot": "image",
    "ai.run": "spark",
    "ai.cancel": "stop",
    "ai.read_first": "eye-off",
    "ai.reveal": "eye",
    "ai.uncertainty": "uncertain",
    "ai.saliency": "saliency",
    "ai.compare": "compare",
    "ai.card": "card",
    "report.begin": "report",
    "report.add_key_image": "camera",
    "report.sign": "sign",
    "report.export": "export",
    "finding.accept": "check",
    "finding.accept_all": "check-all",
    "finding.reject": "cross",
    "finding.edit": "edit",
    "segment.add": "plus",
    "segment.delete": "trash",
    "segment.show": "eye",
    "help.keys": "key",
    "help.manual": "help",
    "help.about": "info",
    "app.preferences": "settings",
    "app.palette": "search",
    "app.fullscreen": "full",
    "app.notices": "list",
    "reader.change": "person",
}


def listed(entries: Entries) -> tuple[str, ...]:
    """The command ids of a menu with its sub-menus."""
    found: list[str] = []
    for entry in entries:
        if isinstance(entry, tuple):
            found += listed(entry[1])
        elif entry:
            found.append(entry)
    return tuple(found)
