"""`capacity`: find the rate at which each mode, an application or a URL gives in, and say what gave in."""

from collections.abc import Sequence
from datetime import UTC, datetime

from taskdemo_cli.analysis.capacity.subject import Subject
from taskdemo_cli.analysis.thresholds import check_conditions
from taskdemo_cli.commands.keeping import Keeping, exit_code
from taskdemo_cli.documents.capacity import CapacityDocument, ModeCapacity
from taskdemo_cli.documents.environment import command_line, environment
from taskdemo_cli.documents.run import Skipped
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.request import GET, ParsedUrl, Request, read_request
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.processes.tempdirs import temporary_folder
from taskdemo_cli.reports.output import Output
from taskdemo_cli.reports.terminal.capacity import capacity_screen
from taskdemo_cli.runner.capacity import Search, Searcher
from taskdemo_cli.runner.rig import Rig
from taskdemo_cli.runner.target import Target, running_target
from taskdemo_cli.units import format_seconds
from taskdemo_server.contract.settings import BUILT_IN_WORKS, Settings


def capacity_of_modes(
    settings: Sequence[Settings], skipped: Sequence[Skipped], search: Search, keeping: Keeping, path: str
) -> int:
    """Search the limit of a private server of each of these settings, show what was found, and return the exit code."""
    subjects: dict[str, Subject] = {}
    for one in settings:
        subject = subjects[one.app or one.mode] = Subject.from_settings(one)
        search.check(subject)
    return _conduct(subjects, skipped, search, keeping, settings[0], path)


def capacity_of_url(parsed: ParsedUrl, token: str | None, search: Search, keeping: Keeping) -> int:
    """Search the limit of a server that runs already, show what was found, and return the exit code."""
    target = running_target(parsed, token, named=True)
    request = read_request(None, (), None, token=token, more=parsed.headers)
    return _conduct({parsed.url + parsed.path: Subject()}, (), search, keeping, None, parsed.path, target, request)


def _conduct(
    subjects: dict[str, Subject],
    skipped: Sequence[Skipped],
    search: Search,
    keeping: Keeping,
    settings: Settings | None,
    path: str,
    target: Target | None = None,
    request: Request = GET,
) -> int:
    output = Output(keeping.as_json)
    stopping = StopRequest().listen()
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    found: dict[str, ModeCapacity] = {}
    without = list(skipped)
    works = settings is not None and settings.app is None
    has_threads = settings is not None and not works
    is_foreign = target is not None and target.health is None
    check_conditions(search.conditions, has_threads=has_threads, is_foreign=is_foreign)

    def document() -> CapacityDocument:
        return CapacityDocument(
            modes=dict(found),
            work=settings.work if settings and works else None,
            duration_s=settings.duration if settings and works else None,
            step_s=search.step_s,
            conditions=[one.expression for one in search.conditions],
            skipped=list(without),
            interrupted=stopping.asked,
            started_at=started_at,
            environment=environment(),
            command=command_line(),
        )

    with (
        temporary_folder() as folder,
        servers.ForkServer() as fork_server,
        Rig(stopping, threads=has_threads) as rig,
        capacity_screen(output.console, _title(list(subjects), settings), list(subjects)) as screen,
    ):
        searcher = Searcher(rig, fork_server, folder, search, screen)
        for absent in skipped:
            screen.skip(absent.mode, absent.why)
        for name, subject in subjects.items():
            try:
                one = searcher.search(name, subject, path, target, request)
            except UserError as error:
                if len(subjects) == 1:
                    raise
                without.append(Skipped(mode=name, why=str(error)))
                screen.skip(name, str(error))
                continue
            if one is not None:
                found[name] = one
                screen.done(name, one)
                keeping.save_so_far(document)
    if not found:
        stopping.check()
        raise UserError(f"no mode could be measured: {'; '.join(f'{one.mode}: {one.why}' for one in without)}")
    result = keeping.judged(document())
    keeping.show(result, output)
    nothing = all(one.sustained_per_s is None for one in found.values())
    return exit_code(stopping, result.thresholds, failed=searcher.broke_off or nothing)


def _title(names: Sequence[str], settings: Settings | None) -> str:
    work = ""
    if settings is not None and settings.app is None:
        work = f", work: {settings.work}"
        work += f" of {format_seconds(settings.duration)}" if settings.work in BUILT_IN_WORKS else ""
    many = f"{len(names)} modes" if len(names) > 1 else names[0]
    return f"How much {many} can take{work}"
