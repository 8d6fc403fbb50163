"""Bad input, all of it: one sentence that names the value and what to type instead, and exit code 2."""

import shlex

import pytest

from commands import in_process, one_sentence

SECRET = "hush-hush"
BAD = [
    ("fire --port 1", "or your application: taskdemo fire --app main.py"),
    ("fire --port 1", "no server answers on port 1; start one: taskdemo serve --port 1\n"),
    ("fire --port 0", "--port is 0: it takes the port of a server, 1 to 65535"),
    ("fire --count 0", "--count is 0: it takes a whole number from 1"),
    ("fire --count 10000000000", "--count is 10000000000: it takes a whole number from 1, at most 1,000,000,000"),
    ("fire --count 3 --for 2", "--count and --for both limit the run: give one of them"),
    ("fire --for 10x", "--for is 10x: it takes seconds above 0, such as 2, 500ms or 1m"),
    (f"fire --rate {'9' * 400}", "it takes requests per second, above 0"),
    ("fire --rate 0", "--rate is 0: it takes requests per second, above 0"),
    ("fire --rate 1 --concurrency 2", "--concurrency waits for answers, --rate does not: give one of them"),
    ("fire --duration 1", "--duration needs --mode: add it, or leave --duration out"),
    ("fire --app main.py --threads 4", "--threads needs --mode: add it, or leave --threads out"),
    ("capacity --url :8000 --work cpu", "--work needs --modes: add it, or leave --work out"),
    ("fire --url ftp://127.0.0.1", "--url 'ftp://127.0.0.1' is not an HTTP URL"),
    ("fire --url http://127.0.0.1:1 --mode async", "--url and --mode each say where to fire: give one of them"),
    (f"fire --url http://{'x' * 70}.a/", "not a valid host name"),
    ("fire --mode backgruond", "there is no mode 'backgruond'; did you mean background?"),
    ("fire --mode background --work slep", "there is no work 'slep'; did you mean sleep? The works are sleep, cpu"),
    ("fire --mode background --work nonsense", "or your own as module:function"),
    (
        "fire --mode background --work a:b.c",
        "b.c is not a module-level name; call it in a function there, and name",
    ),
    ("capacity --body hi", "--body needs --app or --url: add one, or leave --body out"),
    ("fire --mode background --work a:b:c", "--work is 'a:b:c': it takes --work module:name"),
    ("fire --mode background --save result.exe", "the file's name must end in one of .json"),
    ("fire --mode background --save /nowhere/at/all.json", "mkdir -p /nowhere/at"),
    ("fire --mode background --save page.html", "for a page, use --html page.html"),
    ("fire --mode background --html /dev/null/page.html", "/dev/null"),
    ("fire --mode background --fail-if response.p59>1ms", "response.p99"),
    ("fire --token 'a\r\nHost:b'", "--token must be non-empty visible ASCII"),
    ("serve --token=", "--token must be non-empty visible ASCII"),
    ("serve --duration soon", "--duration is soon: it takes seconds, 0 or more, such as 2, 500ms or 1m"),
    ("serve --workers 1.5", "--workers is 1.5: it takes a whole number from 1"),
    ("serve --workers 1001", "--workers is 1001: it takes a whole number from 1, at most 1,000"),
    ("serve --mode fast", "the modes are blocking, async, threadpool, background, background-async"),
    ("compare --modes ,", "--modes is empty; the modes are blocking,async"),
    ("compare old.json", "compare takes two saved results, old and new"),
    ("compare main.build", "your own function: taskdemo compare --work module:function"),
    ("compare old.json new.json --cold", "--cold applies only when compare runs modes"),
    ("compare old.json new.json", "old.json cannot be read"),
    ("worker", "Missing option '--broker'; taskdemo worker --help shows how"),
    ("worker --broker redis:// --engine selery", "there is no engine 'selery'; did you mean celery?"),
    ("worker --broker redis:// --server ftp://here", "is not an HTTP URL; type --server http://127.0.0.1:8000"),
    ("compare --modes background --broker redis://x", "--broker is for the modes of queue engines"),
    ("serve --broker redis://x", "--broker is for the modes of queue engines"),
    ("serve --mode process --queue mine", "--queue is for the modes of queue engines"),
    ("compare --modes queue", "there is no mode 'queue'; did you mean queues?"),
    ("fire --mode process --backend redis://x", "--backend is for the modes that can keep results apart from tasks"),
    ("serve --mode rq --broker redis://x --backend redis://x", "--backend is for the modes that can keep"),
    ("worker --engine rq --broker redis://x --backend redis://x", "--backend is for the modes that can keep"),
    ("report nothing.json", "nothing.json cannot be read"),
    ("explode", "taskdemo --help shows how"),
    ("compar", "Did you mean 'compare'? taskdemo --help shows how"),
    ("--explode", "; taskdemo --help shows how"),
    (
        "serve --app main.py",
        "No such option: --app; fire, capacity and scan take it; taskdemo serve --help shows how",
    ),
    ("fire main.py", "(main.py); did you mean --app main.py? taskdemo fire --help shows how"),
    ("fire /orders", "did you mean --path /orders?"),
    ("capacity http://localhost:8000/", "did you mean --url http://localhost:8000/?"),
    ("limits main.py", "(main.py); taskdemo limits --help shows how"),
    ("fire blocking", "(blocking); type taskdemo fire --mode blocking; taskdemo fire --help shows how"),
    ("serve process", "type taskdemo serve --mode process;"),
    ("compare blocking background", "type taskdemo compare --modes blocking,background"),
    ("compare blocking async background", "type taskdemo compare --modes blocking,async,background;"),
    ("compare blocking,background", "type taskdemo compare --modes blocking,background"),
    ("compare blocking", "type taskdemo compare --modes blocking"),
    ("limits blocking background", "type taskdemo limits --modes blocking,background;"),
    ("capacity threadpool", "type taskdemo capacity --modes threadpool;"),
    ("serve --explode", "; taskdemo serve --help shows how"),
    # What cannot be sent.
    ("fire --method 'GE T'", "type GET, POST"),
    ("fire --method ''", "type GET, POST"),
    ("fire --method connect", "another method"),
    (f"fire --header 'Bearer {SECRET}'", "'Name: value'"),
    ("fire --header 'X-Ä: b'", "'Name: value'"),
    (f"fire --header ': {SECRET}'", "'Name: value'"),
    (f"fire --header 'X: {SECRET}\r\nY: c'", "must be one line"),
    (f"fire --header 'X: {SECRET}é'", "ASCII"),
    ("fire --header 'content-length: 3'", "leave it out"),
    (f"fire --header 'Authorization: a' --token {SECRET}", "give one of them"),
    ("fire --header 'Authorization: a' --header 'authorization: b'", "give one of them"),
    (f"fire --url http://a:{SECRET}@127.0.0.1:1 --token t", "give one of them"),
    ("fire --body @/no/such/file", "No such file"),
    ("fire --body @/dev/zero", "64 MB"),
    ("fire --body @", "name a file"),
    ("fire --path 'a b'", "a%20b"),
    ("fire --path /items/{id}", "'{' is not allowed"),
    ("fire --path /\x1b[31m", "\\x1b"),
    ("fire --path ü", "%C3%BC"),
    ("fire --path '#top'", "%23top"),
    ("fire --url 'http://127.0.0.1:1/?a=b' --path x", "both in one"),
    ("fire --url 'http://127.0.0.1:1/a b'", "a%20b"),
    ("fire --url 'http://a b/'", "--url"),
    ("fire --url http://localhost:0", "no valid host name or port"),
    ("fire --url localhost:port/x", "--url http://127.0.0.1:8000"),
    (f"fire --form {SECRET}", "--form name=value"),
    ("fire --form a=@/no/such/file", "No such file"),
    (f"fire --form a={SECRET} --body {SECRET}", "give one of them"),
    ("fire --form a={n} --form b=@/bin/true", "a binary file"),
    (f"fire --url ftp://me:{SECRET}@127.0.0.1/", "--url"),
    ("fire --app ' '", "--app is empty; it takes a file, a folder, or module:name"),
    # What cannot be searched for.
    (
        "capacity --modes background --duration 20",
        "needs steps of 40 s or more, about 7 minutes for each mode; type --step 40s",
    ),
    ("capacity --from 10 --to 5", "--from 10 is more than --to 5"),
    ("capacity --while 'respnse > 1'", "--while 'respnse > 1': there is no metric 'respnse'"),
    ("capacity --while 'bystander_threads.p95 < 1s'", "bystander_threads.p95 is not measured here"),
    ("capacity --modes background --fail-if 'background.sustaind < 3'", "did you mean sustained?"),
    ("capacity --modes background --fail-if 'respnse > 1'", "there is no metric 'respnse'; write it like"),
    ("capacity --modes background --app shop:app", "--modes and --app each say where to fire"),
]


@pytest.mark.parametrize(("line", "says"), BAD, ids=[line[:60] for line, _ in BAD])
def test_bad_input_is_one_sentence_that_names_the_way_out_and_repeats_no_secret(line: str, says: str) -> None:
    done = in_process(*shlex.split(line))
    assert (done.returncode, done.stdout) == (2, "")
    sentence, *more = done.stderr.splitlines(keepends=True)
    assert one_sentence(sentence), done.stderr
    assert all(line.startswith("  ") for line in more)
    assert says in done.stderr
    assert SECRET not in done.stderr


def test_the_metrics_that_there_are_take_a_line_per_kind_that_fits_a_terminal() -> None:
    lines = in_process("fire", "--fail-if", "zzz > 1").stderr.splitlines()
    kinds = [line.split(":")[0].strip() for line in lines[1:] if ":" in line]
    assert kinds == ["times", "durations", "shares", "counts", "rates"]


def test_the_environment_is_checked_as_the_options_are() -> None:
    assert in_process("fire", TASKDEMO_FIRE_FOR="soon").stderr == (
        "taskdemo: --for is soon: it takes seconds above 0, such as 2, 500ms or 1m"
        " (from the environment: TASKDEMO_FIRE_FOR)\n"
    )
    done = in_process("fire", TASKDEMO_FIRE_FAIL_IF="response.p95 > 1m\nresponse.p95 > 20s\n")
    assert "'response.p95 > 1m': response.p95 is a time, so its limit takes one of the units" in done.stderr
    assert "(from the environment: TASKDEMO_FIRE_MODE)" in in_process("fire", TASKDEMO_FIRE_MODE="bla").stderr
    done = in_process("compare", TASKDEMO_COMPARE_MODES="blocking, bla")
    assert "(from the environment: TASKDEMO_COMPARE_MODES)" in done.stderr


@pytest.mark.parametrize(
    ("typed", "variables"),
    [
        (["fire", "--count", "x"], {"TASKDEMO_FIRE_COUNT": "3"}),
        (["fire", "-n", "x"], {"TASKDEMO_FIRE_COUNT": "3"}),
        (["fire", "-nx"], {"TASKDEMO_FIRE_COUNT": "3"}),
        (["fire", "--form", "x"], {"TASKDEMO_FIRE_FOR": "3"}),
        (["fire", "--port", "1"], {"TASKDEMO_FIRE_MODE": ""}),
    ],
)
def test_no_variable_is_blamed_for_what_was_typed(typed: list[str], variables: dict[str, str]) -> None:
    done = in_process(*typed, **variables)
    assert done.returncode == 2
    assert "environment" not in done.stderr


def test_the_environment_installs_nothing_and_asks_for_no_version() -> None:
    done = in_process("report", "nothing.json", TASKDEMO_VERSION="1", TASKDEMO_INSTALL_COMPLETION="1", HOME="/nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing.json" in done.stderr
