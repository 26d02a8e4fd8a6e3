"""The one exception whose text is meant for the person at the keyboard."""


class UserError(Exception):
    """Something a person can put right: a key, a path, a column, a broken image, a dead server.

    The message says what is wrong, where, and what to do. The command line prints it alone and exits with status 2;
    ``--debug`` shows the traceback too.
    """
