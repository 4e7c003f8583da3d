"""Every error of the project.

Each error carries a ``code`` (for machines), one sentence (what is wrong, what was found, what would do)
and ``details`` (aggregates only, never cell values longer than 64 characters)::

    CausalError
    ├── InputError              the request or the data cannot be used as given
    ├── DesignError             the data cannot support the design that was asked for
    ├── EstimationError         a method was admissible and still produced no number
    ├── NotApplicable           a method lacks something that it needs here
    ├── ModelUnavailable        there is no language model, or it gave no usable answer
    ├── BlindnessError          an agent asked for a view of the data that is closed at this stage
    ├── CapReached              a budget of the job is spent
    ├── Fenced                  the attempt is no longer the one that counts
    └── Retriable               the world failed; the same call may succeed later
        ├── Busy                someone else holds the lease; does not count as an attempt
        ├── Conflict            a transaction lost too many races
        ├── CommitUnknown       a commit was sent and its outcome was not seen
        └── StorageError        a store refused or did not answer
    NotFound, AlreadyExists     (CausalError) a document or an object is missing, or is there already
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class CausalError(Exception):
    """Anything that this project raises on purpose."""

    default_code: ClassVar[str] = "ERROR"
    retriable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details = dict(details or {})


class InputError(CausalError):
    """The request or the data cannot be used as given."""

    default_code = "INPUT"


class DesignError(CausalError):
    """The data cannot support the design that was asked for."""

    default_code = "DESIGN"


class EstimationError(CausalError):
    """A method was admissible and still produced no number."""

    default_code = "ESTIMATION"


class NotApplicable(CausalError):
    """A method lacks something that it needs here."""

    default_code = "NOT_APPLICABLE"


class ModelUnavailable(CausalError):
    """There is no language model, or it gave no usable answer."""

    default_code = "MODEL_UNAVAILABLE"


class BlindnessError(CausalError):
    """An agent asked for a view of the data that is closed at this stage."""

    default_code = "BLINDNESS"


class CapReached(CausalError):
    """A budget of the job is spent."""

    default_code = "CAP_REACHED"


class Fenced(CausalError):
    """The attempt is no longer the one that counts."""

    default_code = "FENCED"


class NotFound(CausalError):
    """A document or an object is missing."""

    default_code = "NOT_FOUND"


class AlreadyExists(CausalError):
    """A document or an object is there already."""

    default_code = "ALREADY_EXISTS"


class Retriable(CausalError):
    """The world failed; the same call may succeed later."""

    default_code = "RETRIABLE"
    retriable = True


class Busy(Retriable):
    """Someone else holds the lease; does not count as an attempt."""

    default_code = "BUSY"


class Conflict(Retriable):
    """A transaction lost too many races."""

    default_code = "CONFLICT"


class CommitUnknown(Retriable):
    """A commit was sent and its outcome was not seen."""

    default_code = "COMMIT_UNKNOWN"


class StorageError(Retriable):
    """A store refused or did not answer."""

    default_code = "STORAGE"
