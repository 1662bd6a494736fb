"""The errors medview expects: each says in the reader's words what happened and what to do."""


class MedviewError(Exception):
    """An expected failure, worded for the reader.

    `user_text` names the thing and the reason, `hint` says what can be done,
    `detail` is for the log and may be technical; none carries patient data into logs.
    """

    def __init__(self, user_text: str, hint: str = "", detail: str = "") -> None:
        super().__init__(user_text)
        self.user_text = user_text
        self.hint = hint
        self.detail = detail

    def __reduce__(self) -> tuple[type["MedviewError"], tuple[str, str, str]]:
        """Cross process borders with all three texts."""
        return type(self), (self.user_text, self.hint, self.detail)


class ReadError(MedviewError):
    """A file or folder could not be read as what it claims to be."""


class PasswordError(ReadError):
    """An archive that needs a password, or another one."""


class GeometryError(MedviewError):
    """Positions that are missing or contradict each other, or two grids that do not agree."""


class ModelError(MedviewError):
    """A model that is missing, damaged, out of scope, or failed."""


class ReportError(MedviewError):
    """A report that may not be signed, changed or exported as asked."""


class ExportError(ReportError):
    """A file that could not be written, or that read back differs from what was asked for."""


class StoreError(MedviewError):
    """The reader's work could not be saved or opened."""


class CommandError(MedviewError):
    """A command that does not exist, or was called with arguments it does not take."""


class Cancelled(MedviewError):
    """The reader stopped it; nothing is shown."""

    def __init__(self, user_text: str = "Cancelled", hint: str = "", detail: str = "") -> None:
        super().__init__(user_text, hint, detail)
