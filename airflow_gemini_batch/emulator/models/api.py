"""Interactive calls (generateContent, embedContent, countTokens) and the list of models."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_gemini_batch.emulator.answers.embeddings import embed_content
from airflow_gemini_batch.emulator.answers.request import value_error
from airflow_gemini_batch.emulator.answers.response import generate_content
from airflow_gemini_batch.emulator.answers.structured import SchemaRefused
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import json_response, page_size_of, read_object
from airflow_gemini_batch.emulator.http.callers import API_VERSIONS, project_of, version_of
from airflow_gemini_batch.emulator.http.page_tokens import next_token, open_token
from airflow_gemini_batch.emulator.http.request_fields import field_problems
from airflow_gemini_batch.emulator.models.names import MODELS, known_model, methods_of
from airflow_gemini_batch.emulator.models.references import References
from airflow_gemini_batch.emulator.proto_json import Json, get_list, get_object
from airflow_gemini_batch.emulator.service import Service


class ModelsApi:
    """Answers as in a batch, so that a prompt can be tried interactively first."""

    def __init__(self, service: Service, references: References) -> None:
        self._service = service
        self._references = references

    def routes(self) -> list[Route]:
        handlers = {
            "generateContent": self._generate,
            "embedContent": self._embed,
            "batchEmbedContents": self._embed_several,
            "countTokens": self._count,
        }
        found = []
        for version in API_VERSIONS:
            for method, handler in handlers.items():
                for models in ("models", "tunedModels"):
                    found.append(Route(f"/{version}/{models}/{{model}}:{method}", handler, methods=["POST"]))
            found.append(Route(f"/{version}/models", self._list_models, methods=["GET"]))
            found.append(Route(f"/{version}/models/{{model}}", self._get_model, methods=["GET"]))
        return found

    async def _generate(self, request: Request) -> Response:
        model, body = await self._checked_request(request, "GenerateContentRequest")
        try:
            return json_response(generate_content(body, model, own=self._service.own_answer(body)))
        except SchemaRefused as error:
            raise refusals.invalid_argument(str(error)) from error

    async def _embed(self, request: Request) -> Response:
        model, body = await self._checked_request(request, "EmbedContentRequest")
        return json_response(embed_content(body, model, in_batch=False))

    async def _embed_several(self, request: Request) -> Response:
        _, model = self._caller(request)
        requests = [item for item in get_list(await read_object(request), "requests") if isinstance(item, dict)]
        return json_response({"embeddings": [embed_content(item, model, in_batch=False)["embedding"] for item in requests]})

    async def _count(self, request: Request) -> Response:
        project, _ = self._caller(request)
        body = await read_object(request)
        counted = get_object(body, "generateContentRequest") or body
        return json_response(self._references.count_tokens(counted, project, self._service.clock.now()))

    async def _list_models(self, request: Request) -> Response:
        project_of(request, self._service)
        size = page_size_of(request, default=50, most=1000)
        page, (start,) = open_token(request.query_params.get("pageToken"), start=(0,))
        names = list(dict.fromkeys([*MODELS, *self._service.options.models]))
        end = max(0, start) + size
        body: Json = {"models": [_model(name) for name in names[max(0, start) : end]]}
        if end < len(names):
            body["nextPageToken"] = next_token(page + 1, (end,))
        return json_response(body)

    async def _get_model(self, request: Request) -> Response:
        project_of(request, self._service)
        name = known_model(
            f"models/{request.path_params['model']}", version_of(request), "getModel", self._service.options.models
        )
        return json_response(_model(name.removeprefix("models/")))

    def _caller(self, request: Request) -> tuple[str, str]:
        project = project_of(request, self._service)
        path, _, method = request.url.path.rpartition(":")
        return project, known_model("/".join(path.split("/")[-2:]), version_of(request), method, self._service.options.models)

    async def _checked_request(self, request: Request, message: str) -> tuple[str, Json]:
        project, model = self._caller(request)
        body = await read_object(request)
        for problem in field_problems(body, message):
            raise refusals.field_refused(problem, message)
        if complaint := value_error(body, embeds=message.startswith("Embed")):
            raise refusals.invalid_argument(complaint)
        if refusal := self._references.refusal_for(body, project, model, self._service.clock.now()):
            raise refusal
        return model, body


def _model(name: str) -> Json:
    return {
        "name": f"models/{name}",
        "version": "emulated",
        "displayName": name.replace("-", " ").title(),
        "description": "Synthetic answers of the emulator under this model's name.",
        "inputTokenLimit": 1048576,
        "outputTokenLimit": 65536,
        "supportedGenerationMethods": list(methods_of(name)),
    }
