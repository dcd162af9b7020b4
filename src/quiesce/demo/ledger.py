"""What the writing client knows of each of its commits, and what a restored server must show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True)
class Commit:
    """One row with its own number; the moments are in seconds on the host's monotonic clock.

    *begun_s*: right before the statement was sent. *acknowledged_s*: right after the server said
    that it is committed; None where that never came.
    """

    number: int
    begun_s: float
    acknowledged_s: float | None


@dataclass(frozen=True)
class Comparison:
    """The ledger against the rows of a restored server.

    *lost*: acknowledged before the freeze was sent and not there. *from_later*: begun after the
    thaw was answered and there all the same. *unknown*: there, but no client wrote them.
    *before*, *between* and *after* count the ledger's commits by what they must be: there, either,
    not there; *between_present* are those of *between* that are there.
    """

    lost: tuple[int, ...]
    from_later: tuple[int, ...]
    unknown: tuple[int, ...]
    before: int
    between: int
    between_present: int
    after: int

    @property
    def is_consistent(self) -> bool:
        """Whether the restored rows are what the instant allows."""
        return not (self.lost or self.from_later or self.unknown)


def compare(
    ledger: Sequence[Commit],
    present: Collection[int],
    *,
    freeze_sent_s: float,
    thaw_answered_s: float,
) -> Comparison:
    """Compare the *ledger* with the numbers of the rows that are *present* after the restore."""
    found = frozenset(present)
    before = {one.number for one in ledger if _was_told_before(one, freeze_sent_s)}
    after = {one.number for one in ledger if one.begun_s > thaw_answered_s}
    everything = {one.number for one in ledger}
    between = everything - before - after
    return Comparison(
        lost=tuple(sorted(before - found)),
        from_later=tuple(sorted(after & found)),
        unknown=tuple(sorted(found - everything)),
        before=len(before),
        between=len(between),
        between_present=len(between & found),
        after=len(after),
    )


def _was_told_before(commit: Commit, moment_s: float) -> bool:
    return commit.acknowledged_s is not None and commit.acknowledged_s < moment_s
