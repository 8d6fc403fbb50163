"""`capacity`: find the rate at which each mode, an application or a URL gives in, and say what gave in."""

from collections.abc import Sequence

from taskdemo_cli.analysis.capacity.subject import Subject
from taskdemo_cli.analysis.thresholds import check_conditions
from taskdemo_cli.commands.keeping import Keeping
from taskdemo_cli.documents.capacity import CapacityDocument, ModeCapacity
from taskdemo_cli.documents.environment import provenance
from taskdemo_cli.documents.run import Skipped, describe_work
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.loadgen.request_options import ParsedUrl
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.processes.tempdirs import temporary_folder
from taskdemo_cli.reports.terminal.capacity import CapacityScreen
from taskdemo_cli.runner.capacity import Search, Searcher
from taskdemo_cli.runner.rig import Rig
from taskdemo_cli.runner.target import running_target
from taskdemo_server.contract.settings import Settings


def capacity(
    settings: Sequence[Settings],
    skipped: Sequence[Skipped],
    search: Search,
    keeping: Keeping,
    parsed: ParsedUrl,
    request: Plan,
    token: str | None = None,
) -> int:
    """Find the limit of a private server for each of these settings, show what was found, and return the exit code.

    Without any settings, find that of the server which already runs at `parsed`.
    """
    subjects: dict[str, Subject] = {}
    for private in settings:
        subject = subjects[private.app or private.mode] = Subject.from_settings(private)
        search.check(subject)
    target = None
    if not settings:
        target = running_target(parsed, token, named=True)
        subjects = {parsed.url + parsed.path: Subject()}
    stopping = StopRequest().listen()
    begun = provenance()
    found: dict[str, ModeCapacity] = {}
    broke_off = False
    without = list(skipped)
    of_mode = settings[0] if settings and settings[0].app is None else None
    work, duration_s = (of_mode.work, of_mode.known_duration) if of_mode else (None, None)
    has_threads = bool(settings) and of_mode is None
    is_foreign = target is not None and not target.is_followed
    check_conditions(search.conditions, has_threads=has_threads, is_foreign=is_foreign)

    def document() -> CapacityDocument:
        return CapacityDocument(
            modes=dict(found),
            work=work,
            duration_s=duration_s,
            step_s=search.step_s,
            conditions=[one.expression for one in search.conditions],
            skipped=list(without),
            interrupted=stopping.asked,
            **begun,
        )

    with (
        temporary_folder() as folder,
        servers.ForkServer() as fork_server,
        Rig(stopping, threads=has_threads) as rig,
        CapacityScreen(keeping.output.console, _title(list(subjects), work, duration_s), list(subjects)) as screen,
    ):
        for absent in skipped:
            screen.skip(absent.mode, absent.why)
        for number, (name, subject) in enumerate(subjects.items()):
            place = folder / str(number)
            searcher = Searcher(rig, fork_server, place, search, screen, name, subject, parsed.path, target, request)
            try:
                one = searcher.search()
            except UserError as error:
                if len(subjects) == 1:
                    raise
                without.append(Skipped(mode=name, why=str(error)))
                screen.skip(name, str(error))
                continue
            broke_off = broke_off or searcher.broke_off
            if one is not None:
                found[name] = one
                screen.done(name, one)
                keeping.save_so_far(document)
    if not found:
        stopping.check()
        raise UserError(f"no mode could be measured: {'; '.join(f'{one.mode}: {one.why}' for one in without)}")
    nothing = all(one.sustained_per_s is None for one in found.values())
    return keeping.finish(document(), stopping, failed=broke_off or nothing)


def _title(names: Sequence[str], work: str | None, duration_s: float | None) -> str:
    many = f"{len(names)} modes" if len(names) > 1 else names[0]
    return f"How much {many} can take" + (f", work: {describe_work(work, duration_s)}" if work else "")
