"""The two ways a command ends badly. Both reach the user as one line, never as a traceback."""


class UserError(Exception):
    """A mistake in what was asked (configuration, arguments, data): says where and what is valid. Exit code 2."""


class Failure(Exception):
    """Work that was rightly asked for and could not be done: says what is kept and how to go on. Exit code 1."""
