"""`report` and `compare OLD NEW`: results that were saved, drawn again or compared with each other."""

from typing import Any

from taskdemo_cli.analysis.diff import compare_saved
from taskdemo_cli.errors import OK, UserError
from taskdemo_cli.reports import files
from taskdemo_cli.reports.output import Output
from taskdemo_server.contract.settings import VERSION


def report(path: str, html: str | None) -> int:
    """Draw a saved result again: as a page, or on the terminal."""
    files.check((), html)
    document = files.load(path)
    output = Output(as_json=False)
    if html is not None:
        files.save(document, html)
        output.wrote(html)
        return OK
    output.show(document)
    return OK


def compare(old: str, new: str, as_json: bool) -> int:
    """Show two saved runs or comparisons side by side, and what changed beyond noise."""
    before, after = files.load(old), files.load(new)
    for path, document in ((old, before), (new, after)):
        if what := {"limits": "limits", "scan": "a scan", "capacity": "capacities"}.get(document.kind):
            raise UserError(f"{path} holds {what}: there are no times to compare; give two runs or comparisons")
    changes = compare_saved(before, after)  # type: ignore[arg-type]  # the others were refused above
    result: Any = {"taskdemo": VERSION, "kind": "changes", "old": old, "new": new, **changes}
    Output(as_json).show(result)
    return OK
