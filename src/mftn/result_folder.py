"""Result folders: an index file lists all results, so that new ones replace earlier results but never other files."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mftn.errors import OutputError
from mftn.files import json_text, write_text


@dataclass(frozen=True, slots=True)
class ResultFolder:
    """A folder that a command writes several files into.

    Attributes:
        folder: The folder, which need not exist yet.
        index: The name of the JSON file whose key `files` lists the names of all files, including its own.
    """

    folder: Path
    index: str

    def earlier(self) -> dict[str, Any]:
        """The index of earlier results; empty where there are none."""
        try:
            about = json.loads((self.folder / self.index).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return about if isinstance(about, dict) and isinstance(about.get("files"), list) else {}

    def check(self, names: Iterable[str]) -> None:
        """Refuse to replace a file that is not listed among earlier results.

        Raises:
            OutputError: Such a file exists.
        """
        own = set(map(str, self.earlier().get("files", ())))
        for name in names:
            if name not in own and (self.folder / name).exists():
                raise OutputError(
                    f"{self.folder / name}: would be replaced by a result of the same name, and no earlier run "
                    "wrote it; choose another folder (--out)"
                )

    def begin(self, names: Collection[str]) -> None:
        """Check the names, and list them before the files are written, so that an interrupted run can be repeated."""
        self.check(names)
        earlier = self.earlier()
        write_text(
            self.folder / self.index, json_text({**earlier, "files": [*earlier.get("files", ()), *names]}, indent=1)
        )

    def remove_others(self, names: Collection[str], removable: re.Pattern[str]) -> list[str]:
        """Remove earlier results that the new ones, `names`, do not replace and that would contradict them.

        Returns:
            The names for the new index: `names`, and earlier results that are not `removable`.
        """
        others = sorted(set(map(str, self.earlier().get("files", ()))) - set(names))
        for name in filter(removable.fullmatch, others):
            (self.folder / name).unlink(missing_ok=True)
        return [*names, *(name for name in others if not removable.fullmatch(name))]
