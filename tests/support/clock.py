"""A clock that tests set."""


class Clock:
    """Returns `now`, in seconds; a test changes it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now
