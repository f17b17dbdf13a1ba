"""Whatever the description allows, and whatever it forbids, is answered as it says, and never by a fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from distilrec.serving import Settings, create_app
from tests.serving.test_app import student, write

EXAMPLES = 50  # of each operation
# That ids must be known, and a click somebody's, is more than a schema can say.
MEANING = [positive_data_acceptance]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Of a server on a port of its own, with room for the longest bodies that Schemathesis makes."""
    folder = tmp_path_factory.mktemp("schema")
    write(folder / "bundle", student())
    app = create_app(Settings(bundle=folder / "bundle", body_limit=10**8, waiting=1_000))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_answers_are_as_described(api: Any, mode: GenerationMode) -> None:
    for found in api.get_all_operations():
        operation = found.ok()
        if mode == GenerationMode.NEGATIVE and not operation.body:
            continue  # nothing that could be wrong

        @given(operation.as_strategy(generation_mode=mode))
        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def ask(case: Any) -> None:
            case.call_and_validate(excluded_checks=MEANING)

        ask()
