"""Where a process meets those that it starts: sockets, whose paths the system limits to about a hundred bytes."""

from __future__ import annotations

import multiprocessing.util
import os
import tempfile

from experiments.errors import UserError

LONGEST = 103 - len("/pymp-01234567/listener-01234567")  # bytes of a folder of sockets; on Linux four more
SHORT = ("/tmp", "/var/tmp", "/dev/shm")


def shorten_socket_paths() -> None:
    """Have sockets lie in a short folder where that for temporary files is too long, before processes are started.

    Loader workers pass images through a socket below ``TMPDIR``. A longer path raises an error in a worker's thread,
    where nobody hears of it, and the training waits for its first batch for ever. Python 3.14 does the same as this.

    Raises:
        UserError: There is no short folder that can be written to.

    Example:
        >>> from datamodules.images.sockets import shorten_socket_paths
        >>> shorten_socket_paths()
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) <= LONGEST:
        return

    before = tempfile.tempdir
    try:
        for short in SHORT:
            if os.access(short, os.W_OK | os.X_OK):
                tempfile.tempdir = short
                multiprocessing.util.get_temp_dir()  # made once, for all of this process's sockets and its children's
                return
    finally:
        tempfile.tempdir = before
    raise UserError(
        f"TMPDIR={folder}: is too long for the sockets through which loader workers pass images, and none of "
        f"{', '.join(SHORT)} can be written to: set TMPDIR to a folder of at most {LONGEST} bytes, or start no workers "
        "(data.num_workers=0)"
    )
