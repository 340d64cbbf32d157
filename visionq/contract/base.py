"""The base of all documents of the contract."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, PlainSerializer, StringConstraints

#: Raised when an older worker could misread a newer document. Adding an optional field is no
#: reason; changing what a field means is.
SCHEMA_VERSION: Final = 1


class Document(BaseModel):
    """A frozen document that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> str:
        """Return the whole document as JSON; non-ASCII text is not escaped."""
        return self.model_dump_json()

    def to_public(self) -> dict[str, Any]:
        """Return every field as plain JSON values, for people and for other services."""
        return self.model_dump(mode="json")


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


#: Rubles. A decimal string on the wire: `"0.98689"`, never a float, never an exponent.
Rubles = Annotated[Decimal, PlainSerializer(_plain, return_type=str)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$")]
#: The name of a batch, chosen by its submitter: what a shell or a search takes for a pattern
#: is no name.
BatchName = Annotated[str, StringConstraints(pattern=r"^[!-)+->@-Z^-~]{1,128}$")]
#: Parts of lane names: no colon, no blank.
TenantName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
