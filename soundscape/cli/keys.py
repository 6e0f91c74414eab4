"""Single keys of a terminal, without waiting for Enter."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["END", "keys"]

END = "\x04"
"""The key of a terminal that has gone, as of Ctrl-D."""

_LOOK_SECONDS = 0.05
_SEVERAL = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]")  # what arrows and the like send


@contextmanager
def keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Tells of each key of the standard input, a terminal, on the running loop; afterwards the terminal is as it was.
    Ctrl-C is none: it interrupts, as ever. Those that send more than one character (arrows) are left out.

    Args:
        pressed: called with a character, with `END` where there will be none any more.
    """
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        import msvcrt

        def look() -> None:
            nonlocal next_look
            while msvcrt.kbhit():
                key = msvcrt.getwch()
                if key in ("\x00", "\xe0"):
                    msvcrt.getwch()
                else:
                    pressed(key)
            next_look = loop.call_later(_LOOK_SECONDS, look)

        next_look = loop.call_soon(look)
        try:
            yield
        finally:
            next_look.cancel()
    else:
        import termios
        import tty

        terminal = sys.stdin.fileno()

        def read() -> None:
            try:
                data = os.read(terminal, 64)
            except OSError:
                data = b""
            if not data:
                loop.remove_reader(terminal)
                pressed(END)
            for key in _SEVERAL.sub("", data.decode(errors="ignore")):
                pressed(key)

        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal)
        loop.add_reader(terminal, read)
        try:
            yield
        finally:
            loop.remove_reader(terminal)
            # What was typed and not read is not left to the shell.
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
