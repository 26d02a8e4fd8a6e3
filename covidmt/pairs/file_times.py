"""When a received file arrived, as its name tells.

The names are those of WhatsApp (Android, iOS, computers), Telegram, Signal, phones' cameras and screenshots, in any
language: a date, and near it a time of day or a running number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# 24-hour clocks need no more; 12-hour clocks say which half of the day, before or behind the time
_MORNING = ("am", "上午", "午前", "오전", "πμ", "ص", "पूर्वाह्न")
_AFTERNOON = ("pm", "下午", "午後", "오후", "μμ", "م", "अपराह्न")
_HALVES = "|".join(_MORNING + _AFTERNOON)

_DATES = (  # year first; Telegram's exports have the day first
    re.compile(r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<sep>[-_. ]?)(?P<month>\d\d)(?P=sep)(?P<day>\d\d)(?!\d)"),
    re.compile(r"(?<!\d)(?P<day>\d\d)(?P<sep>[-.])(?P<month>\d\d)(?P=sep)(?P<year>(?:19|20)\d\d)(?!\d)"),
)
_WHATSAPP_NUMBER = re.compile(r"-wa(\d+)")
_TIME = re.compile(
    rf"(?:(?P<before>{_HALVES}) ?)?"
    r"(?<!\d)(?P<hour>\d{1,2}(?=[-_.: ])|\d\d)(?P<sep>[-_.: ]?)(?P<minute>\d\d)(?P=sep)(?P<second>\d\d)"
    r"(?P<split>\d{3})?(?!\d)"  # a second's thousandths
    rf"(?: ?(?P<after>{_HALVES})(?![a-z]))?"
)
_COUNTER = re.compile(r"\D*(\d{1,9})")


class Arrival(NamedTuple):
    """When a file arrived; arrivals sort by time.

    Attributes:
        date: Year, month, day in eight digits.
        time: Hour, minute, second in six digits; "" where the name has none.
        number: A running number of files of one date or second; 0 where there is none.
    """

    date: str
    time: str
    number: int


class ArrivalOrder(NamedTuple):
    """Files in the order in which they arrived.

    Attributes:
        paths: The files.
        note: Why their modification times decided; "" where their names did.
    """

    paths: list[Path]
    note: str


def sort_by_time(paths: Sequence[Path]) -> ArrivalOrder:
    """Sort files by the time that their names tell, or by modification time where not all names tell one.

    Names with a running number a day (WhatsApp on Android) and names with a time of day cannot be compared within a
    day; then modification times decide, too.

    Example:
        >>> files = [Path("IMG-20210203-WA0002.jpg"), Path("IMG-20210203-WA0001.jpg")]
        >>> [path.stem for path in sort_by_time(files).paths]
        ['IMG-20210203-WA0001', 'IMG-20210203-WA0002']
    """
    times = {path: time_in_name(path.name) for path in paths}
    known = [time for time in times.values() if time is not None]
    mixed = {time.date for time in known if time.time} & {time.date for time in known if not time.time}

    if len(known) < len(paths):
        note = f"the names of {len(paths) - len(known)} of {len(paths)} received files tell no time"
    elif mixed:
        note = f"received files of {len(mixed)} day(s) have a time in some names and only a number in others"
    else:
        return ArrivalOrder(sorted(paths, key=lambda path: (times[path], path.name)), "")
    note += ": the order of arrival is that of the files' modification times, which copying can change"
    return ArrivalOrder(sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name)), note)


def time_in_name(name: str) -> Arrival | None:
    """Return date, time of day and running number in a file's name; None where it has no time.

    Example:
        >>> time_in_name("IMG-20210203-WA0001.jpg")
        Arrival(date='20210203', time='', number=1)
        >>> time_in_name("WhatsApp Image 2021-02-03 at 10.11.12 p. m. (1).jpeg")
        Arrival(date='20210203', time='221112', number=1)
        >>> time_in_name("film.png") is None
        True
    """
    text = _plain(Path(name).stem)
    for pattern in _DATES:
        for date in pattern.finditer(text):
            day = f"{date['year']}{date['month']}{date['day']}"
            if not ("01" <= date["month"] <= "12" and "01" <= date["day"] <= "31"):
                continue
            number = _WHATSAPP_NUMBER.match(text, date.end())
            if number:
                return Arrival(day, "", int(number[1]))
            time = _TIME.search(text, date.end())
            clock = _clock(time) if time else None
            if time and clock:
                counter = _COUNTER.match(text, time.end())
                return Arrival(day, clock, int(time["split"] or (counter[1] if counter else 0)))
    return None


def _plain(stem: str) -> str:
    """Return a name with plain blanks, in small letters, and halves of the day without dots: `p. m.` as `pm`."""
    text = "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in stem.casefold())
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")  # marks of writing direction
    return re.sub(r"(?<![^\W\d_])([ap]|π|μ)\.? ?([mμ])(?:\.|(?![^\W\d_]))", r"\1\2", unicodedata.normalize("NFC", text))


def _clock(time: re.Match[str]) -> str | None:
    """Return six digits; None where it is no time of day."""
    hour, minute, second = (int(time[part]) for part in ("hour", "minute", "second"))
    half = time["before"] or time["after"]
    if half and not 1 <= hour <= 12:
        half = None  # a 24-hour clock that says the half as well
    if half:
        hour = hour % 12 + 12 * (half in _AFTERNOON)
    return f"{hour:02d}{minute:02d}{second:02d}" if hour < 24 and minute < 60 and second < 60 else None
