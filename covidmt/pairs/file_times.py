"""When a received file arrived, as its name tells: WhatsApp on Android, WhatsApp on a computer, cameras."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_PATTERNS = (
    re.compile(r"(?P<date>\d{8})-WA(?P<number>\d+)"),
    re.compile(
        r"(?P<date>\d{4}-\d{2}-\d{2}) at (?P<time>\d{1,2}\.\d{2}\.\d{2})(?: (?P<half>[AP]M))?(?: \((?P<number>\d+)\))?"
    ),
    re.compile(r"(?P<date>\d{8})[_-](?P<time>\d{6})(?:\D+(?P<number>\d+))?"),
)


def sort_by_time(paths: Sequence[Path]) -> list[Path]:
    """Sort files by the time that their names tell, or by modification time where not all names tell one.

    Example:
        >>> files = [Path("IMG-20210203-WA0002.jpg"), Path("IMG-20210203-WA0001.jpg")]
        >>> [path.stem for path in sort_by_time(files)]
        ['IMG-20210203-WA0001', 'IMG-20210203-WA0002']
    """
    times = {path: time_in_name(path.name) for path in paths}
    if all(times.values()):
        return sorted(paths, key=lambda path: (times[path], path.name))
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))


def time_in_name(name: str) -> tuple[str, str, int] | None:
    """Return date, time of day and running number in a file's name, which sort by time; None where it has none.

    Example:
        >>> time_in_name("IMG-20210203-WA0001.jpg")
        ('20210203', '', 1)
        >>> time_in_name("WhatsApp Image 2021-02-03 at 10.11.12 PM (1).jpeg")
        ('20210203', '221112', 1)
        >>> time_in_name("film.png") is None
        True
    """
    for pattern in _PATTERNS:
        match = pattern.search(name)
        if match is None:
            continue
        parts = match.groupdict()
        clock = [int(part) for part in re.findall(r"\d\d?", parts.get("time") or "")]
        if parts.get("half"):
            clock[0] = clock[0] % 12 + 12 * (parts["half"] == "PM")
        time = "".join(f"{part:02d}" for part in clock)
        return parts["date"].replace("-", ""), time, int(parts.get("number") or 0)
    return None
