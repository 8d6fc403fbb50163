"""`fire`: choose the target, send a burst, show what was measured, save it, and say by the exit code how it went."""

import contextlib
import ssl
from collections.abc import Iterator

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from taskdemo_cli import runner
from taskdemo_cli.analysis import blocking, verdicts
from taskdemo_cli.commands import serve
from taskdemo_cli.commands.burst import Burst, words
from taskdemo_cli.commands.keeping import Keeping, exit_code
from taskdemo_cli.documents.blocking import Blocking
from taskdemo_cli.errors import FAILED, UserError
from taskdemo_cli.loadgen.proxies import proxy_for
from taskdemo_cli.loadgen.request import Place
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.processes.tempdirs import temporary_folder
from taskdemo_cli.reports.output import Output, complain
from taskdemo_cli.runner import Rig, Target
from taskdemo_server.contract.settings import OWN_PATHS, Settings
from taskdemo_server.contract.text import without_password

__all__ = ["Burst", "Keeping", "fire"]


def fire(
    burst: Burst,
    keeping: Keeping,
    *,
    place: Place,
    named: bool = False,
    private: Settings | None = None,
    token: str | None = None,
    wait: bool = True,
    cold: bool = False,
) -> int:
    """Fire a burst at a place, of a private server or one that runs, and return the exit code.

    `named`: the user gave the URL; else it is only a port of this machine.
    """
    from taskdemo_cli.reports.terminal.live import run_screen
    from taskdemo_cli.reports.terminal.report import run_report

    burst.check_capacity()
    output = Output(keeping.as_json)
    stopping = StopRequest().listen()
    with contextlib.ExitStack() as stack:
        if private is None:
            target = running_target(place, token, named=named)
            rig = stack.enter_context(Rig(stopping))
        else:
            rig = stack.enter_context(Rig(stopping, threads=private.app is not None))
            with output.waiting(f"starting {private.app or f'the {private.mode} server'}"):
                target = stack.enter_context(private_target(private, place.path, stopping))
        if wait:
            runner.check_worker(target)
        facts = burst.facts()
        if private is not None and private.app is None and not cold:
            with output.waiting("warming the server up"):
                target, facts["warm_up"] = rig.warmed_up(target, burst.plan(target))
        mark = target.mark()
        if target.app is not None:
            with output.waiting("watching what it does when nobody asks it anything"):
                target.settle(stopping)
        with run_screen(output.console, _title(burst, target), count=burst.planned, for_s=burst.for_s) as screen:
            plan = burst.plan(target)
            run = rig.measure(target, plan, screen, facts, wait=wait)
        found: Blocking | UnsetType = UNSET
        if target.app is not None:
            with output.waiting("watching what it does after the last answer"):
                found = blocking.judge(run, target.found(mark, stopping, wait=wait))
        with output.waiting("measuring what the client itself takes"):
            (run,) = rig.doubted(plan, [run])
    run = replace(run, blocking=found, verdict=verdicts.verdict(run, blocking.sentence(found) if found else ""))
    run = keeping.judged(run)
    try:
        output.show(run, run_report)
    finally:
        keeping.save(run, output)
    return exit_code(run, [run], stopping)


@contextlib.contextmanager
def private_target(settings: Settings, path: str, stopping: StopRequest) -> Iterator[Target]:
    """Serve while the block runs, and give what to fire at."""
    with temporary_folder() as folder:
        server = servers.launch(serve.placed(settings, folder), folder)
        try:
            servers.await_ready(server, stopping.check)
            under = OWN_PATHS if settings.app is not None else ""
            yield target_at(server, path, under)
        finally:
            server.end()


def target_at(server: servers.Server, path: str, under: str) -> Target:
    """Return a private server of ours that is ready, as a target. Raises UserError where it has ended meanwhile."""
    try:
        return runner.find_target(server.url, path, server, under=under)
    except OSError:
        raise UserError(servers.last_words(server) or "the server ended just after its start", FAILED) from None


def running_target(place: Place, token: str | None, *, named: bool) -> Target:
    """Return a server that runs already, as a target. Raises UserError where nobody answers."""
    url = place.url
    try:
        return runner.find_target(url, place.path, token=token)
    except servers.SilentError as error:
        complain(f"{url} took the connection but did not say what it is ({error}): its tasks, if any, are not followed")
        return Target(url, place.path, token=token)
    except ssl.SSLCertVerificationError as error:
        raise UserError(
            f"{url} answers with a certificate that is not trusted ({error.verify_message.removesuffix('.')}); "
            f"trust it, or whoever has signed it, with SSL_CERT_FILE=/path/to/it.pem before the command"
        ) from None
    except ssl.SSLError as error:
        raise UserError(
            f"{url} answers, but not in TLS ({_reason(error)}); type --url http://{url.partition('://')[2]}"
        ) from None
    except OSError as error:
        if named:
            raise UserError(f"nobody answers at {url} ({_reason(error)}); is the server running?") from None
        port = url.rpartition(":")[2]
        raise UserError(
            f"no server answers on port {port}; start one with: taskdemo serve --port {port}"
            f"  or let fire start its own: taskdemo fire --mode background"
        ) from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _title(burst: Burst, target: Target) -> str:
    what = target.mode or target.app
    name = f"{what} at {target.url}" if what else target.url
    proxy = proxy_for(target.url)
    through = "" if proxy is None else f", through the proxy {without_password(proxy)} of the environment"
    return f"{words(burst)} at {name}{target.path if target.path != '/' else ''}{through}"
