"""The one error that a user is meant to read."""


class UserError(Exception):
    """A problem that the user can mend.

    The message is one line that says what is wrong, where, and what to do. The command line
    prints it without a traceback and exits with status 2. What a damaged file or another library
    put into it may hold line breaks: they become spaces.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))
