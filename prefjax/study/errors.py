"""What a study refuses."""


class StudyClosedError(RuntimeError):
    """Nobody new is let in."""


class AlreadyStartedError(RuntimeError):
    """This recruiting id has taken part, in another session."""


class RefusedError(ValueError):
    """What was sent cannot be meant; nothing was changed."""
