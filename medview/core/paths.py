"""Where the program's own files are; made once by `app` and handed on."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """`resources` is shipped and read only; the rest is the profile of this user.

    A profile folder (`--profile DIR`) holds `settings.toml, store.sqlite, models/, prompts/,
    cache/, logs/`.
    """

    resources: Path
    config: Path
    data: Path
    cache: Path
    logs: Path

    @staticmethod
    def in_profile(resources: Path, profile: Path) -> Paths:
        """Everything of one user in one folder."""
        return Paths(resources, profile, profile, profile / "cache", profile / "logs")

    @property
    def settings_file(self) -> Path:
        """Options the reader changed."""
        return self.config / "settings.toml"

    @property
    def store_file(self) -> Path:
        """The reader's work."""
        return self.data / "store.sqlite"

    @property
    def shipped_models(self) -> Path:
        """Model folders that come with the program."""
        return self.resources / "models"

    @property
    def prompt_models(self) -> Path:
        """Models that answer a reader's marks, which are asked for nothing else."""
        return self.resources / "prompts"

    @property
    def known_models(self) -> Path:
        """Cards of published networks that come without one, each for one hash of weights."""
        return self.resources / "known_models"

    @property
    def trust_file(self) -> Path:
        """Which model folders may run programs of theirs."""
        return self.data / "trusted_models.json"

    @property
    def pseudonym_key(self) -> Path:
        """What makes pseudonyms of patients in data sets; without it they lead back to nobody."""
        return self.data / "pseudonyms.key"

    @property
    def own_models(self) -> Path:
        """Model folders the reader added."""
        return self.data / "models"

    @property
    def own_prompt_models(self) -> Path:
        """Models the reader added that answer marks; they are asked before the shipped ones."""
        return self.data / "prompts"

    @property
    def own_templates(self) -> Path:
        """Report templates the reader added; one named like a shipped one takes its place."""
        return self.config / "report_templates"

    def create(self) -> None:
        """Make the folders of the profile, readable by this user only."""
        for folder in (
            self.config,
            self.data,
            self.cache,
            self.logs,
            self.own_models,
            self.own_prompt_models,
            self.own_templates,
        ):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def room_words(needed: int, folder: Path) -> str:
    """What a full disk wants to be told: room needed in bytes, and what is free, both in MB."""
    free = shutil.disk_usage(folder).free
    return f"{math.ceil(needed / 1e6)} MB are needed, {math.floor(free / 1e6)} MB are free"


def write_whole(path: Path, text: str) -> None:
    """Write a text that is there whole or not at all, also after a loss of power.

    Temporary file beside it, fsync, rename, fsync of the folder; OSError where that fails.
    """
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """See to it that the names in a folder outlive a loss of power, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
