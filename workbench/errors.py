"""How a command ends: its exit codes, and the failure that is no fault of the user's."""

OK, FAILED_CHECK, USAGE, CORRUPT_FILE, INTERRUPTED = 0, 1, 2, 3, 130


class CheckFailed(RuntimeError):
    """The work was done as asked, but its result did not pass a check.

    For instance: the loss became infinite, or a decoded network does not predict what was
    reported.
    """
