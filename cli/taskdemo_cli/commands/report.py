"""`report` and `compare OLD NEW`: saved results, shown again or compared with each other."""

from msgspec.structs import replace

from taskdemo_cli.analysis.diff import compare_saved
from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.environment import command_line, environment
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.errors import OK, UserError
from taskdemo_cli.reports import files
from taskdemo_cli.reports.output import Output


def report(path: str, html: str | None) -> int:
    """Show a saved result again: as a page, or on the terminal."""
    files.check((), html)
    document = files.load(path)
    output = Output(as_json=False)
    if html is None:
        output.show(document)
    else:
        files.save(document, html)
        output.wrote(html)
    return OK


def compare(old: str, new: str, as_json: bool) -> int:
    """Show two saved runs or comparisons side by side, and what changed beyond noise."""
    before, after = (_with_times(path, files.load(path)) for path in (old, new))
    found = compare_saved(before, after)
    Output(as_json).show(replace(found, old=old, new=new, environment=environment(), command=command_line()))
    return OK


def _with_times(path: str, document: AnyDocument) -> RunDocument | ComparisonDocument:
    if isinstance(document, RunDocument | ComparisonDocument):
        return document
    what = {"limits": "limits", "scan": "a scan", "capacity": "capacities"}[document.kind]
    raise UserError(f"{path} holds {what}, which cannot be compared; give two runs or comparisons")
