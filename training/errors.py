"""A failure that is no fault of the user's."""


class CheckFailed(RuntimeError):
    """The work was done as asked, but its result did not pass a check.

    For instance: the loss became infinite, or a decoded network does not predict what was
    reported.
    """
