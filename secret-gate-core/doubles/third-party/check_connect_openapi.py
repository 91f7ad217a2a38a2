"""Holds recorded traffic with Connect against 1Password's own OpenAPI document."""

import argparse
import json
import pathlib
import sys
from dataclasses import dataclass

from openapi_core import OpenAPI
from openapi_core.templating.paths.exceptions import PathNotFound
from openapi_core.templating.responses.exceptions import ResponseNotFound
from openapi_core.testing import MockRequest, MockResponse

DOCUMENT = pathlib.Path(__file__).with_name("1password-connect-1.7.1.json")
# The server's address in the document.
HOST = "http://localhost:8080"


@dataclass(frozen=True)
class Deviation:
    """What the document is known to leave out: where an answer differs, from which rule, with which values."""

    place: str
    rule: str
    values: frozenset
    reason: str


DEVIATIONS = [
    Deviation(
        "fields/*/type",
        "enum",
        frozenset({"OTP", "SSHKEY", "FILE", "REFERENCE", "PHONE", "ADDRESS"}),
        "the document's list of field types is incomplete, the vendor's SDKs know these too; it writes OTP as TOTP",
    ),
    Deviation(
        "status of GET /v1/vaults/*/items",
        "documented",
        frozenset({403}),
        "a vault that the token does not see; documented for the vault and for its single items",
    ),
]

# Without these the record says too little.
NEEDED = [
    ("GET /health", 200),
    ("GET /v1/vaults", 200),
    ("GET /v1/vaults/*/items", 200),
    ("GET /v1/vaults/*/items/*", 200),
    ("GET /v1/vaults/*/items/*", 404),
]


def shape(parts):
    """A path with its numbers and ids as stars."""
    return "/".join("*" if isinstance(part, int) or len(part) == 26 else part for part in parts)


def findings(api, exchange):
    """What is wrong with a request and its answer: (place, rule, value, text)."""
    method, path = exchange["method"], exchange["path"]
    body = exchange["body"].encode()
    request = MockRequest(HOST, method, path, args=exchange["query"], headers=exchange["headers"], data=body)
    for error in api.iter_apicall_request_errors(request):
        yield f"request {method} {path}", type(error).__name__, None, f"{error}: {error.__cause__}"
    data, content_type = exchange["answer"].encode(), exchange["content_type"]
    response = MockResponse(data, exchange["status"], content_type=content_type)
    for error in api.iter_apicall_response_errors(request, response):
        broken = list(getattr(error.__cause__, "schema_errors", []))
        for violation in broken:
            yield shape(violation.absolute_path), violation.validator, violation.instance, violation.message
        if isinstance(error, ResponseNotFound):
            yield f"status of {method} {shape(path.split('/'))}", "documented", exchange["status"], str(error)
        elif not broken and not isinstance(error, PathNotFound):
            yield f"answer to {method} {path}", type(error).__name__, None, f"{error}: {error.__cause__}"


def deviation(finding):
    """The known deviation that explains a finding, with the value."""
    place, rule, value, _ = finding
    for known in DEVIATIONS:
        if (place, rule) == (known.place, known.rule) and value in known.values:
            return known, value
    return None


def check_the_check(api):
    """Planted mistakes, each of which must be found."""
    vault, other = "a" * 26, "b" * 26
    sound = {
        "method": "GET",
        "path": f"/v1/vaults/{vault}/items/{other}",
        "query": {},
        "headers": {"authorization": "Bearer token"},
        "body": "",
        "status": 200,
        "content_type": "application/json",
        "answer": json.dumps({"id": other, "vault": {"id": vault}, "category": "LOGIN", "fields": []}),
    }
    for finding in findings(api, sound):
        sys.exit(f"mismatch: a sound exchange is refused: {finding}")
    mistakes = [
        {"path": "/vaults"},
        {"path": f"/v1/vaults/{vault}/things"},
        {"path": f"/v1/vaults/{vault}/items/{other}/"},
        {"path": f"/v1/vaults/{vault}/items/{'B' * 26}"},
        {"path": f"/v1/vaults/{vault}/items/short"},
        {"method": "OPTIONS"},
        {"headers": {}},
        {"headers": {"authorization": "token"}},
        {"status": 418},
        {"content_type": "text/html"},
        {"answer": "{"},
        {"answer": "[]"},
        {"answer": json.dumps({"vault": {"id": vault}})},
        {"answer": json.dumps({"vault": {"id": "short"}, "category": "LOGIN"})},
        {"answer": json.dumps({"vault": {"id": vault}, "category": "LOGIN", "fields": [{"type": "OTP"}]})},
        {"answer": json.dumps({"vault": {"id": vault}, "category": "LOGIN", "fields": [{"id": "x", "type": "ODD"}]})},
    ]
    for mistake in mistakes:
        if not any(deviation(finding) is None for finding in findings(api, {**sound, **mistake})):
            sys.exit(f"mismatch: the check does not see {mistake}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=argparse.FileType(), help="what the recording proxy wrote")
    given = parser.parse_args()
    api = OpenAPI.from_file_path(str(DOCUMENT))
    check_the_check(api)

    exchanges = [json.loads(line) for line in set(given.record)]
    wrong, explained, seen = set(), set(), set()
    for exchange in exchanges:
        seen.add((f"{exchange['method']} {shape(exchange['path'].split('/'))}", exchange["status"]))
        for finding in findings(api, exchange):
            known = deviation(finding)
            if known is None:
                wrong.add(f"{finding[3]} at {finding[0]}")
            else:
                explained.add(known)
    for known in DEVIATIONS:
        for value in known.values:
            if (known, value) not in explained:
                wrong.add(f"{value} at {known.place} is listed as a deviation and did not occur")
    wrong.update(f"{needed} did not occur" for needed in NEEDED if needed not in seen)
    if wrong:
        sys.exit("\n".join(f"mismatch: {finding}" for finding in sorted(wrong)))
    print(f"connect backend and double: openapi-core agrees with {len(exchanges)} different exchanges")


main()
