"""Whatever is asked, the private listener answers as its OpenAPI document says: requests made by Schemathesis."""

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


def explore(document: dict[str, Any], base: str, token: str, known: list[str], examples: int) -> int:
    """Ask each operation of a document in many ways; how many requests were made."""
    asked = 0
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=base)
    for result in schema.get_all_operations():
        operation = result.ok()

        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=examples,
                deadline=None,
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
                response = case.call(headers={"Authorization": f"Bearer {token}"}, timeout=20)
                case.validate_response(response, checks=CHECKS)

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
        asked = await asyncio.to_thread(explore, desk.api, f"http://{desk.ops}", desk.token, known, 20)
        assert asked > 20 * len(desk.api["paths"])
        desk.logs.close()
        assert b'"defect"' not in desk.lines


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
