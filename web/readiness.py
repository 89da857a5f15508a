"""Whether a load balancer should send requests here: `GET /ready`."""

from typing import Literal

State = Literal["starting", "ready", "stopping"]


class Readiness:
    """How far the process is. It goes from starting to ready to stopping, and never back.

    It says nothing of the sides: where no model answers, the answer to a request says why.
    """

    def __init__(self) -> None:
        self.state: State = "ready"

    def starting(self) -> None:
        """Note that the first look at the sides is under way."""
        if self.state == "ready":
            self.state = "starting"

    def ready(self) -> None:
        """Note that requests no longer wait for that look."""
        if self.state == "starting":
            self.state = "ready"

    def stop(self) -> None:
        """Note that the process will end; requests that come until then are still answered."""
        self.state = "stopping"
