import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import json_schema
import samples
from commands import in_process

SCHEMA = json.loads(json_schema.PATH.read_text("utf-8"))
CONTRACT = {
    "run": (
        "taskdemo kind mode url work duration_s count concurrency rate started_at interrupted summary requests tasks"
    ),
    "summary": ("response_s corrected_s completion_s bystander_s requests tasks wall_s requests_per_s client"),
    "statistics": "count min mean p50 p90 p95 p99 max",
    "request_counts": "ok failed errors statuses bytes",
    "task_counts": "accepted finished failed cancelled lost max_parallel",
    "client": "cpu_share loop_lag_p99_s overhead_s trusted",
    "request": "n task_id status error planned_s sent_s first_byte_s done_s response_s",
    "task": "id state accepted_s started_s ended_s cpu_s where message error",
    "comparison": "taskdemo kind reference runs verdicts",
    "verdict": "mode text",
    "recommendation": "need mode why gives_up code",
    "limits": "taskdemo kind modes",
    "cell": "verdict measured text",
    "capacity": "taskdemo kind modes",
    "mode_capacity": "sustained_per_s failed_at_per_s cause text expected_per_s steps",
    "capacity_step": ("rate response_s corrected_s completion_s backlog backlog_growth_per_s failed sustained"),
    "scan": "taskdemo kind endpoints",
    "endpoint": "method path skipped summary blocking",
    "changes": "taskdemo kind old new changes remarks",
    "change": "mode figure old new low high outcome",
}


def validate(document: Any) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    errors = sorted(validator.iter_errors(document), key=str)
    assert not errors, errors[0]


def test_the_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", samples.all_documents())
def test_every_kind_of_document_conforms(name: str) -> None:
    validate(samples.saved(samples.all_documents()[name]))


def test_what_two_saved_results_come_to_conforms_too(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("old.json", "new.json")]
    for rounds, file in enumerate(files, 2):
        file.write_text(json.dumps(samples.saved(samples.comparison_document(rounds))), "utf-8")
    found = json.loads(in_process("compare", *map(str, files), "--json").stdout)
    validate(found)
    assert (found["kind"], found["old"], found["new"]) == ("changes", *map(str, files))
    assert found["changes"]


def test_names_may_be_added_and_none_may_be_missing() -> None:
    run = samples.saved(samples.blocking_run())
    validate({**run, "new": 1})
    without = {key: value for key, value in run.items() if key != "summary"}
    with pytest.raises(AssertionError):
        validate(without)


def test_the_schema_is_that_of_the_types() -> None:
    if os.environ.get("TASKDEMO_REVIEW") == "1":
        json_schema.PATH.write_text(json_schema.schema(), "utf-8")
    assert json_schema.schema() == json_schema.PATH.read_text("utf-8"), "TASKDEMO_REVIEW=1 writes it"


@pytest.mark.parametrize("name", CONTRACT)
def test_no_name_that_scripts_rely_on_is_gone(name: str) -> None:
    assert set(CONTRACT[name].split()) <= set(SCHEMA["$defs"][name]["required"])


def test_rows_behave_like_the_list_that_is_read_back() -> None:
    run = samples.background_run(7)
    read = samples.changed(run)
    assert list(run.requests) == read.requests
    assert run.tasks[-1] == read.tasks[-1]
    assert run.tasks[2:5] == read.tasks[2:5]
    with pytest.raises(IndexError):
        run.requests[7]
