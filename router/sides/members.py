"""The limits of a team member's key: its sides, and its daily budget for the cloud."""

from collections.abc import Callable
from dataclasses import replace

from router.backend import Status
from router.deciding.facts import Ask, Decision, Side
from router.errors import BudgetSpent, Forbidden
from router.state.team import Member


def open_to(member: Member, ask: Ask, local: Side, cloud: Side) -> tuple[Side, Side]:
    """Return the sides as a member sees them. Raises Forbidden for a side that is not open."""
    if ask.force is not None and (refusal := member.refusal(ask.force)):
        raise Forbidden(refusal)
    return _open_to(member, local), _open_to(member, cloud)


def _open_to(member: Member, side: Side) -> Side:
    refusal = member.refusal(side.target)
    if not refusal:
        return side
    return Side(side.target, side.backend, Status("unconfigured", detail=refusal))


def within_budget(
    decision: Decision, member: Member, spent_usd: Callable[[str], float]
) -> Decision:
    """Return the decision without the cloud if the member's budget is spent.

    `spent_usd` returns the USD that a member has spent today. Raises BudgetSpent where the cloud
    would have answered.
    """
    budget = member.budget_usd_per_day
    if budget is None or spent_usd(member.name) < budget:
        return decision
    here = tuple([one for one in decision.candidates if one.target == "local"])
    if decision.first.target == "cloud" or not here:
        raise BudgetSpent(
            f"Today's budget of {member.name} ({budget:g} USD) is spent. Until midnight only"
            " the local model answers, and this request would go to the cloud"
            f" ({decision.reason})."
        )
    return replace(decision, candidates=here)
