"""The two ways a command ends badly. Both reach the user as one line, never as a traceback."""

from pathlib import Path


class UserError(Exception):
    """A mistake in what was asked (configuration, arguments, data): says where and what is valid. Exit code 2."""


class Failure(Exception):
    """Work that was rightly asked for and could not be done: says what is kept and how to go on. Exit code 1."""


class Damaged(Failure):
    """A file that is not what was written under its name, and so is never read on: cut off, changed, or foreign."""

    def __init__(self, path: Path, why: str):
        super().__init__(
            f"{path}: {why}; `python -m jobs verify CONFIG` sets it aside, and `python -m jobs run CONFIG` makes it "
            "again"
        )
        self.path, self.why = path, why

    def __reduce__(self):
        return Damaged, (self.path, self.why)
