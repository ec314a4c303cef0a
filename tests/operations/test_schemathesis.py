"""Whatever is asked, both listeners answer as their OpenAPI documents say: requests made by Schemathesis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.operations.desk_stage import a_desk

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def explore(document: dict[str, Any], base: str, headers: dict[str, str], known: list[str], examples: int) -> int:
    """Ask each operation of a document that comes to an end in many ways; how many requests were made."""
    asked = 0
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=base)
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/events") and "{" not in operation.path:
            continue  # this stream has no end

        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=examples,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.explicit, Phase.generate],
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                nonlocal asked
                asked += 1
                if "id" in case.path_parameters and asked % 2:
                    case.path_parameters["id"] = known[asked % len(known)]
                response = case.call(headers=headers, timeout=20)
                # What the legacy system said with a status of its own is no error of the server.
                ours = not case.operation.path.endswith("/result") or "strangler-source" in response.headers
                case.validate_response(response, checks=CHECKS if ours else CHECKS[1:])

            try:
                ask()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, "nothing can be asked wrongly where nothing is given"
    return asked


@pytest.mark.slow
async def test_no_answer_is_outside_the_document(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        known = [await desk.submit({"answer": answer}, path="/open") for answer in (200, 422, 500)]
        for one in known:
            await desk.settled(one)
        headers = {"Authorization": f"Bearer {desk.token}"}
        asked = await asyncio.to_thread(explore, desk.api, f"http://{desk.ops}", headers, known, 20)
        assert asked > 20 * len(desk.api["paths"])
        desk.logs.close()
        assert b'"defect"' not in desk.lines


@pytest.mark.slow
async def test_no_answer_about_a_process_is_outside_the_document_of_the_public_listener(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        document = (await desk.get("/openapi/processes.json")).document
        held = [await desk.submit({"hold": True}) for _ in range(2)]
        waiting = await desk.submit({"policyNumber": "P-1"})
        assert (await desk.post(f"/processes/{waiting}/cancel")).status == 200
        desk.release.set()
        ended = [await desk.submit({"answer": answer, "policyNumber": "P-1"}) for answer in (200, 302, 422, 500)]
        for one in (*held, *ended):
            await desk.settled(one)
        headers = {"X-Api-Key": "me"}
        asked = await asyncio.to_thread(explore, document, desk.url, headers, [*held, *ended, waiting], 25)
        assert asked > 20 * len(document["paths"])
        desk.logs.close()
        assert b'"defect"' not in desk.lines


async def test_the_document_of_the_public_listener_knows_each_resource_and_its_words(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        document = (await desk.get("/openapi/processes.json")).document
        assert {path.split("/")[1] for path in document["paths"]} == {"claim-submissions", "processes"}
        assert {scheme["name"] for scheme in document["components"]["securitySchemes"].values()} == {"X-Api-Key"}
        one = await desk.submit({"policyNumber": "P-1"}, Idempotency_Key='"k"')
        await desk.settled(one)
        operation = document["paths"]["/claim-submissions/{id}/status"]["get"]
        reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        url = f"{desk.url}/claim-submissions/{one}/status"
        async with desk.session.get(url, headers={"X-Api-Key": "me"}) as answer:
            status = await answer.json()
        Draft202012Validator(schema).validate(status)
        assert status.keys() <= schema["properties"].keys()


async def test_the_schemas_of_the_document_are_schemas(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        assert desk.api["openapi"] == "3.1.0"
        names = set()
        for operations in desk.api["paths"].values():
            for operation in operations.values():
                names.add(operation["operationId"])
                for response in operation["responses"].values():
                    for content in response["content"].values():
                        Draft202012Validator.check_schema(content.get("schema", {}))
                if "requestBody" in operation:
                    Draft202012Validator.check_schema(operation["requestBody"]["content"]["application/json"]["schema"])
        assert len(names) == sum(map(len, desk.api["paths"].values()))
