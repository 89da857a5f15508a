"""Tells load balancers whether to send requests here: `GET /ready`."""

from typing import Literal

State = Literal["starting", "ready", "stopping"]


class Readiness:
    """The state of the process: from starting to ready to stopping, never back.

    It does not depend on the sides: if no model answers, each request gets an error that says why.
    """

    def __init__(self) -> None:
        self.state: State = "ready"

    def starting(self) -> None:
        """Note that the first probe of the sides is under way."""
        if self.state == "ready":
            self.state = "starting"

    def ready(self) -> None:
        """Note that requests no longer wait for that probe."""
        if self.state == "starting":
            self.state = "ready"

    def stop(self) -> None:
        """Note that the process will end; requests that come until then are still answered."""
        self.state = "stopping"
