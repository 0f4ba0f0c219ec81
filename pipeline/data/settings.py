"""Which images, and what the heads under attack learn of them: the keys `data:` and `task:` of an experiment."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from pipeline import located
from pipeline.data.contents import EVERYTHING, content_of
from pipeline.data.record import Record
from pipeline.data.sets import RECORDS
from pipeline.errors import UserError
from pipeline.settings import Integers, Settings


class DataSet(Settings):
    """A labelled set of images with a `train` and a `test` split."""

    name: Literal[tuple(RECORDS)] = Field(description="one of the data sets of docs/keys.md; or `folder`, `npz`: yours")
    path: str | None = Field(
        default=None, description="of your folder or .npz file; a relative one is taken from the YAML file's folder"
    )
    size: int | None = Field(
        default=None, ge=8, le=1024, description="side of the images to rebuild, in pixels; none = the data set's own"
    )

    @model_validator(mode="after")
    def _path_where_needed(self):
        if (self.path is not None) != (self.record.is_users):
            raise ValueError("path is required for `name: folder` and `name: npz`, and for no other")
        return self

    @property
    def record(self) -> Record:
        return RECORDS[self.name]

    @property
    def image_size(self) -> int:
        """Side of the images that the attack rebuilds, in pixels."""
        return self.size or self.record.size

    @property
    def channels(self) -> int:
        return self.record.channels

    @property
    def title(self) -> str:
        """A name for files: the data set's, or that of the user's own file or folder."""
        return Path(self.path).stem if self.path else self.name

    def identity(self, root: Path) -> dict:
        """What results depend on: never where the data lie, but what the files hold; named sets are below `root`."""
        return {"name": self.name, "size": self.image_size, "content": content_of(*self.files(root))}

    def files(self, root: Path) -> tuple[Path, tuple[str, ...]]:
        """The folder of its files, and the patterns that they match in it."""
        if self.path is None:
            return self.record.folder or root, self.record.files
        path = located(self.path)
        if not path.exists():
            raise UserError(f"data.path: {path} does not exist; give the .npz file or the folder of images by class")
        return (path, (EVERYTHING,)) if path.is_dir() else (path.parent, (path.name,))


class Task(Settings):
    """What the attacked head tells apart.

    multiclass: the data's own classes, by which training sets are dealt. binary: dealt so too, but the head learns the
    `positive` classes against the rest. identity: one person against others.
    """

    kind: Literal["multiclass", "binary", "identity"] = Field(
        default="multiclass", description="what the head tells apart"
    )
    positive: Integers = Field(default=(), description="the positive classes of `kind: binary`")

    @model_validator(mode="after")
    def _positive_where_needed(self):
        if (self.kind == "binary") != bool(self.positive):
            raise ValueError("positive lists the positive classes of `kind: binary`, and of nothing else")
        return self
