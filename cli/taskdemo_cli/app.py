"""The commands: parse, call, choose a view. The only module that catches user errors and returns exit codes."""

import contextlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from taskdemo_cli.commands import checks, options
from taskdemo_cli.errors import COULD_NOT_RUN, INTERRUPTED, UserError
from taskdemo_cli.processes import signals
from taskdemo_cli.reports.output import OutputStream, complain
from taskdemo_server.contract.modes import ENGINES, NEED_QUESTIONS
from taskdemo_server.contract.settings import QUEUE, VERSION, Settings, WorkerSettings, WorkSettings, environment_with


class Commands(TyperGroup):
    """The group of commands; its own few options, such as completion's, have no environment variable."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, without their environment variables."""
        params: list[Any] = super().get_params(ctx)
        for param in params:
            param.show_envvar = param.allow_from_autoenv = False
        return params


def _examples(*lines: str, before: tuple[str, ...] = ()) -> str:
    # Blank lines keep the lines apart in every version of Typer. Do not use brackets: they would be markup.
    return "\n\n".join((*before, "For example:", *lines))


app = typer.Typer(
    cls=Commands,
    epilog="Start with:  taskdemo compare",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "TASKDEMO"},
    pretty_exceptions_enable=False,
)


def run() -> None:
    """Run the command line and exit with the documented code; remove its temporary folders however it ends."""
    code = INTERRUPTED
    if "_TASKDEMO_COMPLETE" in os.environ:
        # A shell takes each line for a completion, so Typer must not wrap what they mean.
        os.environ["TERMINAL_WIDTH"] = "1000"
    try:
        signals.listen(signals.interrupt)
        code = outcome(sys.argv[1:])
        signals.ignore()
    except signals.Stopped as stopped:  # outside `outcome`
        code = stopped.exit_code
    finally:
        signals.ignore()
        if "taskdemo_cli.processes.tempdirs" in sys.modules:
            from taskdemo_cli.processes import tempdirs

            tempdirs.clear()
    sys.exit(code)


def outcome(arguments: list[str]) -> int:
    """Run a command and return its exit code; every expected error is one sentence on stderr."""
    try:
        with contextlib.redirect_stdout(OutputStream(sys.stdout)) as out:
            code = app(arguments, prog_name="taskdemo", standalone_mode=False)
            out.flush()
    except UserError as error:
        from taskdemo_cli.commands import usage

        complain(f"{error}{usage.from_environment(_command(arguments), arguments, str(error))}", error.more)
        return error.exit_code
    except signals.Stopped as stopped:
        return stopped.exit_code
    except Exception as error:
        if signals.interrupted:
            return signals.Stopped(signals.interrupted[0]).exit_code
        # A usage error has format_message(), whichever copy of Click defines its class.
        sentence = getattr(error, "format_message", None)
        if sentence is None:
            if "--debug" in arguments:
                raise
            complain(
                f"{type(error).__name__}: {error} (unexpected error; run taskdemo --debug ... for the traceback, "
                "and please report it)"
            )
            return COULD_NOT_RUN
        text = sentence()
        if not text:  # no_args_is_help has printed the help
            return COULD_NOT_RUN
        from taskdemo_cli.commands import usage

        command = _command(arguments)
        text = f"{text.rstrip('.')}{usage.from_environment(command, arguments, text)}{usage.instead(error, text)}"
        complain(f"{text}{'' if text.endswith('?') else ';'} {command} --help shows how")
        return COULD_NOT_RUN
    return code if isinstance(code, int) else 0


def _command(arguments: list[str]) -> str:
    """Return `taskdemo` with the command among the arguments, if there is a known one."""
    first = next((word for word in arguments if not word.startswith("-")), "")
    known = [command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands]
    return f"taskdemo {first}" if first in known else "taskdemo"


def _private(mode: str, **given: Any) -> Settings:
    """Return the settings of a private server, which a command starts for itself."""
    folder = checks.folder_of(given.get("app") or given.get("work", "sleep"))
    return Settings(mode=mode, journal="", port=0, console=False, folder=folder, **given)


def _typed(context: Any) -> list[str]:
    """Return the options given on the command line; those from the environment count as defaults."""
    options_there_are = (param for param in context.command.params if param.param_type_name == "option")
    sources = {param.opts[0]: context.get_parameter_source(param.name) for param in options_there_are}
    return [option for option, source in sources.items() if source and source.name == "COMMANDLINE"]


def _version(asked: bool) -> None:
    if asked:
        print(VERSION)
        raise typer.Exit


@app.callback()
def taskdemo(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")] = False,
) -> None:
    """Where should this slow work run? See, measure and prove how FastAPI's ways to run it differ."""


@app.command(
    epilog=_examples("taskdemo serve --mode blocking --duration 500ms", "taskdemo serve --work mymodule:function")
)
def serve(
    mode: Annotated[str, options.MODE] = "background",
    duration: Annotated[float, options.DURATION] = 1.0,
    work: Annotated[str, options.WORK] = "sleep",
    host: Annotated[str, options.HOST] = "127.0.0.1",
    port: Annotated[int, options.PORT] = 8000,
    workers: Annotated[int, options.WORKERS] = 1,
    threads: Annotated[int, options.THREADS] = 40,
    processes: Annotated[int | None, options.PROCESSES] = None,
    max_pending: Annotated[int, options.MAX_PENDING] = 10_000,
    journal: Annotated[str | None, options.JOURNAL] = None,
    broker: Annotated[str | None, options.BROKER] = None,
    backend: Annotated[str | None, options.BACKEND] = None,
    queue: Annotated[str, options.QUEUE] = QUEUE,
    token: Annotated[str | None, options.TOKEN] = None,
) -> int:
    """Start the demo server: one endpoint, GET /, that does slow work in the chosen mode."""
    from taskdemo_cli.commands import serve

    checks.used_by([mode], broker=broker, backend=backend, queue=queue if queue != QUEUE else None)
    settings = Settings(
        mode=mode,
        duration=duration,
        work=work,
        folder=checks.folder_of(work),
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        processes=processes,
        max_pending=max_pending,
        broker=broker,
        backend=backend,
        queue=queue,
        token=token,
        journal=journal or "",
    )
    return serve.serve(settings)


@app.command(
    epilog=_examples(
        "taskdemo fire --mode background --count 20",
        "taskdemo fire --app mymodule:app --path /orders --body @order.json",
    )
)
def fire(
    context: typer.Context,
    count: Annotated[int, options.COUNT] = 1,
    for_: Annotated[float | None, options.FOR] = None,
    concurrency: Annotated[int | None, options.CONCURRENCY] = None,
    rate: Annotated[float | None, options.RATE] = None,
    message: Annotated[str | None, options.MESSAGE] = None,
    method: Annotated[str | None, options.METHOD] = None,
    header: Annotated[list[str] | None, options.HEADER] = None,
    body: Annotated[str | None, options.BODY] = None,
    form: Annotated[list[str] | None, options.FORM] = None,
    timeout: Annotated[float | None, options.TIMEOUT] = None,
    request_timeout: Annotated[float | None, options.REQUEST_TIMEOUT] = None,
    no_wait: Annotated[bool, options.NO_WAIT] = False,
    cold: Annotated[bool, options.COLD] = False,
    url: Annotated[str | None, options.TARGET_URL] = None,
    port: Annotated[int | None, options.TARGET_PORT] = None,
    mode: Annotated[str | None, options.PRIVATE_MODE] = None,
    app: Annotated[str | None, options.APP] = None,
    path: Annotated[str | None, options.PATH] = None,
    duration: Annotated[float, options.DURATION] = 1.0,
    work: Annotated[str, options.WORK] = "sleep",
    threads: Annotated[int, options.THREADS] = 40,
    processes: Annotated[int | None, options.PROCESSES] = None,
    workers: Annotated[int, options.WORKERS] = 1,
    token: Annotated[str | None, options.TOKEN] = None,
    broker: Annotated[str | None, options.BROKER] = None,
    backend: Annotated[str | None, options.BACKEND] = None,
    json: Annotated[bool, options.JSON] = False,
    save: Annotated[list[str] | None, options.SAVE] = None,
    html: Annotated[str | None, options.HTML] = None,
    fail_if: Annotated[list[str] | None, options.FAIL_IF] = None,
) -> int:
    """Send requests, all at once by default, and watch the responses and the tasks."""
    from taskdemo_cli.commands import fire
    from taskdemo_cli.commands.keeping import Keeping
    from taskdemo_cli.loadgen.request_options import read_request, read_url
    from taskdemo_cli.runner.burst import burst

    checks.only_one({"--url": url, "--port": port, "--mode": mode, "--app": app})
    private = None
    own: dict[str, Any] = {
        "duration": duration, "work": work, "threads": threads, "processes": processes, "workers": workers,
        "broker": broker, "backend": backend,
    }  # fmt: skip
    typed = _typed(context)
    if mode is not None:
        checks.used_by([mode], broker=broker, backend=backend)
        private = _private(mode, **own)
    else:
        checks.not_without("--mode", typed, (*own, "cold"))
        if app is not None:
            private = _private("app", app=app)
    parsed = read_url(url if url is not None else f"http://127.0.0.1:{port or 8000}", path)
    plan = burst(
        count=count if for_ is None or "--count" in typed else None,
        for_s=for_,
        concurrency=concurrency,
        rate=rate,
        message=message,
        timeout_s=timeout,
        request_timeout_s=request_timeout,
        request=read_request(method, header or (), body, form or (), token=token, more=parsed.headers),
    )
    keeping = Keeping(json, save, html, fail_if, [mode] if mode else ())
    return fire.fire(
        plan, keeping,
        parsed=parsed, named=url is not None, private=private, token=token, wait=not no_wait, cold=cold,
    )  # fmt: skip


@app.command(
    epilog=_examples(
        "taskdemo compare --count 5 --duration 500ms --html report.html",
        "taskdemo compare --modes background,process --work mymodule:function",
        "taskdemo compare --work mymodule:function --need result --need quiet",
        "taskdemo compare old.json new.json",
        before=(
            "Questions to ask about slow work, and the needs that follow from the answers:",
            *(f"{question}  {', '.join(needs)}" for question, needs in NEED_QUESTIONS),
        ),
    ),
)
def compare(
    context: typer.Context,
    old: Annotated[str | None, options.OLD_RESULT] = None,
    new: Annotated[str | None, options.NEW_RESULT] = None,
    modes: Annotated[str | None, options.MODE_LIST] = None,
    count: Annotated[int, options.COUNT] = 5,
    duration: Annotated[float, options.DURATION] = 1.0,
    work: Annotated[str, options.WORK] = "sleep",
    threads: Annotated[int, options.THREADS] = 40,
    processes: Annotated[int | None, options.PROCESSES] = None,
    need: Annotated[list[str] | None, options.NEED] = None,
    rounds: Annotated[int, options.ROUNDS] = 1,
    timeout: Annotated[float | None, options.TIMEOUT] = None,
    cold: Annotated[bool, options.COLD] = False,
    broker: Annotated[str | None, options.BROKER] = None,
    backend: Annotated[str | None, options.BACKEND] = None,
    json: Annotated[bool, options.JSON] = False,
    save: Annotated[list[str] | None, options.SAVE] = None,
    html: Annotated[str | None, options.HTML] = None,
    fail_if: Annotated[list[str] | None, options.FAIL_IF] = None,
) -> int:
    """Run the same burst in every mode and say what the differences mean; or compare two saved results."""
    from taskdemo_cli.commands import compare, report, usage
    from taskdemo_cli.commands.keeping import Keeping
    from taskdemo_cli.runner.burst import burst

    if old is not None:
        if command := usage.of_modes("taskdemo compare", [old, *([new] if new else [])], ["--modes"]):
            raise UserError(f"compare takes its modes after --modes; type {command}")
        if new is None:
            raise UserError(
                "compare takes two saved results, old and new: taskdemo compare OLD.json NEW.json;"
                " your own function: taskdemo compare --work module:function"
            )
        for option in _typed(context):
            if option != "--json":
                raise UserError(f"{option} applies only when compare runs modes; two saved results take only --json")
        return report.compare(old, new, json)
    queues = {"broker": broker, "backend": backend}
    names, missing = checks.installed_modes(modes, **queues)
    own: dict[str, Any] = {"duration": duration, "work": work, "threads": threads, "processes": processes, **queues}
    settings = [_private(name, **own) for name in names]
    keeping = Keeping(json, save, html, fail_if, names)
    plan = burst(count=count, timeout_s=timeout)
    return compare.compare(settings, missing, plan, keeping, rounds, cold, checks.needs(need or []))


@app.command(epilog=_examples("taskdemo limits --modes background,process --html limits.html"))
def limits(
    modes: Annotated[str | None, options.MODE_LIST] = None,
    broker: Annotated[str | None, options.BROKER] = None,
    backend: Annotated[str | None, options.BACKEND] = None,
    json: Annotated[bool, options.JSON] = False,
    save: Annotated[list[str] | None, options.SAVE] = None,
    html: Annotated[str | None, options.HTML] = None,
) -> int:
    """Show by experiment what each mode can and cannot do: track, cancel, retry, survive a kill, and so on."""
    from taskdemo_cli.commands import limits
    from taskdemo_cli.commands.keeping import Keeping

    names, missing = checks.installed_modes(modes, broker=broker, backend=backend)
    return limits.run(names, missing, Keeping(json, save, html), broker=broker, backend=backend)


@app.command(
    epilog=_examples(
        "taskdemo capacity --modes threadpool,background --threads 4",
        "taskdemo capacity --app mymodule:app --while 'response.p95 < 200ms'",
    )
)
def capacity(
    context: typer.Context,
    modes: Annotated[str | None, options.MODE_LIST] = None,
    app: Annotated[str | None, options.APP] = None,
    url: Annotated[str | None, options.TARGET_URL] = None,
    path: Annotated[str | None, options.PATH] = None,
    method: Annotated[str | None, options.METHOD] = None,
    header: Annotated[list[str] | None, options.HEADER] = None,
    body: Annotated[str | None, options.BODY] = None,
    form: Annotated[list[str] | None, options.FORM] = None,
    work: Annotated[str, options.WORK] = "sleep",
    duration: Annotated[float, options.DURATION] = 0.1,
    threads: Annotated[int, options.THREADS] = 40,
    processes: Annotated[int | None, options.PROCESSES] = None,
    broker: Annotated[str | None, options.BROKER] = None,
    backend: Annotated[str | None, options.BACKEND] = None,
    token: Annotated[str | None, options.TOKEN] = None,
    while_: Annotated[list[str] | None, options.WHILE] = None,
    from_: Annotated[float | None, options.FROM] = None,
    to: Annotated[float | None, options.TO] = None,
    step: Annotated[float, options.STEP] = 3.0,
    json: Annotated[bool, options.JSON] = False,
    save: Annotated[list[str] | None, options.SAVE] = None,
    html: Annotated[str | None, options.HTML] = None,
    fail_if: Annotated[list[str] | None, options.FAIL_IF_CAPACITY] = None,
) -> int:
    """Find the rate at which each mode, your application or a URL gives in, and say what gave in."""
    from taskdemo_cli.analysis import thresholds
    from taskdemo_cli.commands import capacity
    from taskdemo_cli.commands.keeping import Keeping
    from taskdemo_cli.loadgen.request_options import read_request, read_url
    from taskdemo_cli.runner.capacity import Search

    checks.only_one({"--modes": modes, "--app": app, "--url": url})
    conditions = [thresholds.parse(text, option="--while") for text in while_ or ()]
    search = Search(from_per_s=from_, to_per_s=to, step_s=step, conditions=conditions)
    queues = {"broker": broker, "backend": backend}
    own: dict[str, Any] = {"work": work, "duration": duration, "threads": threads, "processes": processes, **queues}
    elsewhere = app is not None or url is not None
    typed = _typed(context)
    if elsewhere:
        checks.not_without("--modes", typed, own)
    else:
        checks.not_without("--app or --url", typed, ("path", "method", "header", "body", "form"))
    names, missing = ([], []) if elsewhere else checks.installed_modes(modes, **queues)
    keeping = Keeping(json, save, html, fail_if, names, thresholds.CAPACITY)
    parsed = read_url(url or "http://127.0.0.1:8000", path)
    settings = [_private(name, **own) for name in names] if app is None else [_private("app", app=app)]
    request = read_request(method, header or (), body, form or (), token=token, more=parsed.headers)
    return capacity.capacity(settings, missing, search, keeping, parsed, request, token)


@app.command(
    epilog=_examples(
        "taskdemo scan --app main.py",
        "taskdemo scan --app main.py -H 'Authorization: Bearer ...' --fail-if-blocking",
    )
)
def scan(
    app: Annotated[str, options.APP] = ".",
    count: Annotated[int, options.SCAN_COUNT] = 20,
    header: Annotated[list[str] | None, options.HEADER] = None,
    timeout: Annotated[float, options.TIMEOUT] = 5.0,
    json: Annotated[bool, options.JSON] = False,
    save: Annotated[list[str] | None, options.SAVE] = None,
    html: Annotated[str | None, options.HTML] = None,
    fail_if_blocking: Annotated[bool, options.FAIL_IF_BLOCKING] = False,
) -> int:
    """Call every GET endpoint of your own application; name those that hold up everybody, and the line at fault."""
    from taskdemo_cli.commands import scan
    from taskdemo_cli.commands.keeping import Keeping
    from taskdemo_cli.loadgen.request_options import read_request

    request = read_request(None, header or (), None)
    keeping = Keeping(json, save, html)
    settings = _private("app", app=app)
    return scan.scan(settings, keeping, request, count=count, timeout_s=timeout, fail_if_blocking=fail_if_blocking)


@app.command(epilog=_examples("taskdemo worker --broker redis://broker:6379/0 --server http://server:8000"))
def worker(
    broker: Annotated[str, options.WORKER_BROKER],
    engine: Annotated[str, options.ENGINE] = ENGINES[0],
    backend: Annotated[str | None, options.BACKEND] = None,
    queue: Annotated[str, options.QUEUE] = QUEUE,
    work: Annotated[str, options.WORK] = "sleep",
    duration: Annotated[float, options.DURATION] = 1.0,
    processes: Annotated[int | None, options.PROCESSES] = None,
    server: Annotated[str | None, options.REPORT_TO] = None,
    token: Annotated[str | None, options.TOKEN] = None,
) -> int:
    """Run a queue engine's own worker on this machine, for servers that use the same broker."""
    from taskdemo_cli.loadgen.request_options import read_url
    from taskdemo_server.contract.child_process import python

    checks.used_by([engine], backend=backend)
    settings = WorkerSettings(
        engine=engine,
        broker=broker,
        backend=backend,
        queue=queue,
        processes=processes,
        work=WorkSettings(
            mode=engine,
            work=work,
            duration=duration,
            folder=checks.folder_of(work),
            server=None if server is None else read_url(server, None, "--server").url,
            token=token,
            console=True,
        ),
    )
    command = python("taskdemo_server.worker")
    # The worker replaces this process, so it gets its signals directly.
    os.execve(command[0], command, environment_with(settings.to_json()))  # noqa: S606  no shell is wanted


@app.command(epilog=_examples("taskdemo report result.json --html report.html"))
def report(file: Annotated[str, options.SAVED_RESULT], html: Annotated[str | None, options.HTML] = None) -> int:
    """Show a saved result again: in the terminal, or as a page with --html."""
    from taskdemo_cli.commands import report

    return report.report(file, html)
