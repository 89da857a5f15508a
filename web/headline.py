"""Says in one sentence what happens to prompts now, for each state of the two sides."""

from typing import Literal, NamedTuple

from router.deciding.facts import Policy, Side

Level = Literal["ok", "warning", "error"]


class Headline(NamedTuple):
    """A sentence on the state of the sides, and its severity."""

    level: Level
    text: str


def headline(local: Side, cloud: Side, policy: Policy, *, offline: bool = False) -> Headline:
    """Return the sentence on what happens to the next prompt."""
    if offline:
        return _offline(local)
    if local.backend == "embedded":
        return Headline("warning", "Only the small built-in model answers.")
    if not local.usable:
        return _without_local(cloud)
    cold = local.status.state == "cold"
    if cloud.usable:
        return _both(cold, policy)
    loading = " The local model is loaded first, so the next prompt waits." if cold else ""
    if _is_set_up(cloud):
        return Headline(
            "warning", f"The cloud cannot answer: every prompt stays on this machine.{loading}"
        )
    return Headline("ok", f"No cloud is set up: every prompt stays on this machine.{loading}")


def _offline(local: Side) -> Headline:
    if not local.usable:
        return Headline("error", "OFFLINE=true, and the local server cannot answer: prompts fail.")
    small = " Only the small built-in model answers." if local.backend == "embedded" else ""
    loading = " The local model is loaded first, so the next prompt waits."
    cold = loading if local.status.state == "cold" else ""
    level: Level = "warning" if small else "ok"
    return Headline(level, f"OFFLINE=true: nothing leaves this machine.{small}{cold}")


def _without_local(cloud: Side) -> Headline:
    if cloud.usable:
        return Headline(
            "warning",
            "The local server cannot answer: every prompt goes to the cloud and is paid for."
            " Private ones fail.",
        )
    if _is_set_up(cloud):
        return Headline("error", "Neither the local server nor the cloud can answer: prompts fail.")
    return Headline("error", "The local server cannot answer and no cloud is set up: prompts fail.")


def _both(cold: bool, policy: Policy) -> Headline:
    if cold and policy.cold_local == "cloud":
        return Headline(
            "warning",
            "The local model is not loaded: prompts go to the cloud and are paid for until it is.",
        )
    waits = " The local model is loaded first, so the next prompt for it waits." if cold else ""
    return Headline(
        "ok",
        f"Prompts that score {policy.threshold:g} or more go to the cloud, the others stay on this"
        f" machine.{waits}",
    )


def _is_set_up(cloud: Side) -> bool:
    return cloud.status.state != "unconfigured"
