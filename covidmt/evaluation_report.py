"""The report of an evaluation: one HTML file with tables, plots and pictures."""


def write_report(path, subjects, data, result) -> None:
    path.write_text("")
