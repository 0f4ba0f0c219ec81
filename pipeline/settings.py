"""The base of every typed part of an experiment. Each part is defined beside the science that reads it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Strict


class Settings(BaseModel):
    """Frozen, strict (no silent conversion of types) and closed (an unknown key is an error)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Integers = Annotated[tuple[int, ...], Strict(False)]
Strings = Annotated[tuple[str, ...], Strict(False)]
