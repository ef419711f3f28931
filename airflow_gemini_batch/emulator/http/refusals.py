"""The errors with which the service refuses calls.

The texts are those that users have reported. A client that checks texts, codes or details must find the same as at the service.
"""

from __future__ import annotations

from airflow_gemini_batch.emulator.http.request_fields import FieldProblem
from airflow_gemini_batch.emulator.proto_json import Json


class Refusal(Exception):
    """An error answer: the HTTP status and the JSON body."""

    def __init__(self, http_status: int, body: Json) -> None:
        super().__init__(body["error"]["message"])
        self.http_status = http_status
        self.body = body


def _refusal(code: int, status: str, message: str, details: list[Json] | None = None) -> Refusal:
    error: Json = {"code": code, "message": message, "status": status}
    if details:
        error["details"] = details
    return Refusal(code, {"error": error})


def invalid_argument(message: str) -> Refusal:
    return _refusal(400, "INVALID_ARGUMENT", message)


def internal() -> Refusal:
    return _refusal(500, "INTERNAL", "An internal error has occurred. Please retry or report.")


def payload_too_large(limit: int) -> Refusal:
    return invalid_argument(f"Request payload size exceeds the limit: {limit} bytes.")


def field_refused(found: FieldProblem, where: str) -> Refusal:
    """For a JSON field that the message does not have, or whose value has the wrong type."""
    if found.is_known:
        return invalid_argument(f"Invalid value at '{where}.{found.field}'")
    message = f"Invalid JSON payload received. Unknown name \"{found.field}\" at '{where}': Cannot find field."
    violation = {"field": where, "description": message}
    details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}]
    return _refusal(400, "INVALID_ARGUMENT", message, details)


def key_missing() -> Refusal:
    return _refusal(
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    )


def token_missing() -> Refusal:
    """For calls that act on behalf of a user and need an OAuth token beside the API key."""
    return _refusal(
        401, "UNAUTHENTICATED", "Request is missing required authentication credential. Expected OAuth 2 access token."
    )


def key_invalid() -> Refusal:
    message = "API key not valid. Please pass a valid API key."
    details: list[Json] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        },
        {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message},
    ]
    return _refusal(400, "INVALID_ARGUMENT", message, details)


def not_found() -> Refusal:
    return _refusal(404, "NOT_FOUND", "Requested entity was not found.")


def model_not_found(model: str, version: str, method: str) -> Refusal:
    return _refusal(
        404,
        "NOT_FOUND",
        f"{model} is not found for API version {version}, or is not supported for {method}. "
        "Call ListModels to see the list of available models and their supported methods.",
    )


def control_forbidden(why: str) -> Refusal:
    """For calls of the control API from elsewhere; the service has no such API."""
    return _refusal(403, "PERMISSION_DENIED", f"The control API of the emulator is for programs on this machine: {why}.")


def file_forbidden(file_id: str) -> Refusal:
    """For unknown and expired files and for files of other projects: 403, not 404."""
    message = f"You do not have permission to access the File {file_id} or it may not exist."
    return _refusal(403, "PERMISSION_DENIED", message)


def file_not_active(file_id: str) -> Refusal:
    """For a file that is still PROCESSING, or FAILED."""
    return _refusal(400, "FAILED_PRECONDITION", f"The File {file_id} is not in an ACTIVE state and usage is not allowed.")


def cache_forbidden() -> Refusal:
    """For unknown and expired caches and for caches of other projects."""
    return _refusal(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied)")


def cache_too_small(total: int, least: int) -> Refusal:
    return invalid_argument(f"Cached content is too small. total_token_count={total}, min_total_token_count={least}")


def cache_of_other_model(requested: str, cached: str) -> Refusal:
    return invalid_argument(
        f"Model used by GenerateContent request ({requested}) and CachedContent ({cached}) has to be the same."
    )


def cache_has_its_own() -> Refusal:
    return invalid_argument(
        "CachedContent can not be used with GenerateContent request setting system_instruction, tools or tool_config.\n\n"
        "Proposed fix: move those values to CachedContent from GenerateContent request."
    )


def webhook_taken(webhook_id: str) -> Refusal:
    return _refusal(409, "ALREADY_EXISTS", f"Requested entity already exists: webhooks/{webhook_id}.")


def file_taken(file_id: str) -> Refusal:
    """As observed at the end of an upload: the only refusal without a `status`."""
    return Refusal(409, {"error": {"message": f"{file_id} already exists.", "code": 409}})


def file_id_too_long() -> Refusal:
    return invalid_argument("* DeleteFileRequest.name: File ID (name excluding 'files/') cannot be more than 40 characters.\n")


def file_not_downloadable(file_id: str) -> Refusal:
    return invalid_argument(f"File {file_id} cannot be downloaded: only generated files can be.")


def storage_full(limit: int) -> Refusal:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/file_storage_bytes",
        "quotaId": "FileStorageBytesPerProject",
        "quotaValue": str(limit),
    }
    return _refusal(
        429,
        "RESOURCE_EXHAUSTED",
        f"{_QUOTA_TEXT}.\n* Quota exceeded for metric: {violation['quotaMetric']}, limit: {limit}",
        [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}, _QUOTA_HELP],
    )


def batch_quota_exceeded() -> Refusal:
    """The same text for too many jobs and too many tokens, without RetryInfo: the caller cannot distinguish them."""
    message = f"{_QUOTA_TEXT}. To monitor your current usage, head to: https://ai.dev/rate-limit. "
    return _refusal(429, "RESOURCE_EXHAUSTED", message, [dict(_QUOTA_HELP)])


_QUOTA_TEXT = (
    "You exceeded your current quota, please check your plan and billing details. "
    "For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits"
)
_QUOTA_HELP: Json = {
    "@type": "type.googleapis.com/google.rpc.Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}
