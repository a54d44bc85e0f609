"""`report`: a run that has been, as a page or as JUnit XML."""

from __future__ import annotations

from coopery.commands import Context
from coopery.run_files import meant_run


def run(context: Context) -> int:
    """Write what is known of a run to stdout, or to a file."""
    arguments = context.arguments
    format = arguments.format or "html"
    record = meant_run(context, arguments.run)
    if format == "html":
        from coopery_report.page import page

        text = page(record)
    else:
        from coopery_report.junit import junit

        text = junit(record)
    if arguments.output is None:
        print(text, end="")
    else:
        from coopery.asked_files import write

        write(arguments.output, text, "--output")
    return 0
