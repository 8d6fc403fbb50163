"""`report` and `compare OLD NEW`: results that were saved, drawn again or held against each other."""

from typing import Any

from taskdemo_cli.analysis.diff import compare_saved
from taskdemo_cli.errors import OK, UserError
from taskdemo_cli.reports import files
from taskdemo_cli.reports.output import Output, say
from taskdemo_server.contract.events import VERSION
from taskdemo_server.contract.text import escape


def report(path: str, html: str | None) -> int:
    """Draw a saved result again: as a page, or on the terminal."""
    files.check((), html)
    document = files.load(path)
    if html is not None:
        files.save(document, html)
        say(f"wrote {escape(html)}")
        return OK
    from taskdemo_cli.reports.terminal.capacity import capacity_report
    from taskdemo_cli.reports.terminal.limits import limits_report
    from taskdemo_cli.reports.terminal.report import comparison_report, run_report
    from taskdemo_cli.reports.terminal.scan import scan_report

    console = Output(as_json=False).console
    if document.kind == "run":
        console.print(run_report(document))
    elif document.kind == "comparison":
        console.print(comparison_report(document))
    elif document.kind == "capacity":
        console.print(capacity_report(document))
    elif document.kind == "scan":
        console.print(scan_report(document))
    else:
        console.print(limits_report(document))
    return OK


def compare(old: str, new: str, as_json: bool) -> int:
    """Show two saved runs or comparisons side by side, and what changed beyond noise."""
    before, after = files.load(old), files.load(new)
    for path, document in ((old, before), (new, after)):
        if document.kind in {"limits", "scan", "capacity"}:
            what = {"limits": "limits", "scan": "a scan", "capacity": "capacities"}[document.kind]
            raise UserError(f"{path} holds {what}: there are no times to compare; give two runs or comparisons")
    changes = compare_saved(before, after)  # type: ignore[arg-type]  # the others were refused above
    from taskdemo_cli.reports.terminal.diff_table import changes_report

    result: Any = {"taskdemo": VERSION, "kind": "changes", "old": old, "new": new, **changes}
    Output(as_json).show(result, changes_report)
    return OK
