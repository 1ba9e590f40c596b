"""How a command ends: its exit codes."""

OK, FAILED_CHECK, USAGE, CORRUPT_FILE, INTERRUPTED = 0, 1, 2, 3, 130
