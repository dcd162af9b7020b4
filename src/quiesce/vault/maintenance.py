"""Care of the vault by who may delete: what is no longer needed goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiesce.vault.collecting import apply_plan, plan_domain, survey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.ports import PrunableStore
    from quiesce.vault.collecting import Collected, DomainPlan, Survey, Terms
    from quiesce.vault.domain import Domain
    from quiesce.vault.repository import Vault


@dataclass(frozen=True, slots=True)
class Planned:
    """What a prune would do in one domain; see `collecting.DomainPlan`."""

    domain: Domain
    survey: Survey
    plan: DomainPlan


class Maintenance:
    """A vault as its keeper has it; used by one thread."""

    def __init__(self, store: PrunableStore, vault: Vault) -> None:
        """Take the *vault* in *store*.

        Raises QuiesceError VaultUnsupported where its care needs more than this version knows.
        """
        vault.head.require_maintainable()
        self._store = store
        self._vault = vault

    def plan(self, terms: Terms) -> Iterator[Planned]:
        """Yield what a prune would do, domain by domain, doing nothing."""
        for domain in self._vault.domains():
            found = survey(self._store, domain.name)
            yield Planned(domain, found, plan_domain(domain, found, terms))

    def apply(self, planned: Planned) -> Collected:
        """Do what was planned; see `collecting.apply_plan`."""
        return apply_plan(self._store, planned.domain, planned.survey, planned.plan)
