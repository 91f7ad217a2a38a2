"""Has the real server do all that makes it call Connect: look up, ask, release, miss, lose."""

import argparse
import json
import os
import urllib.error
import urllib.request

from doubles_control import control, direct, expect

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("server", help="base URL of the server")
arguments.add_argument("connect", help="base URL of the Connect double behind it")
arguments.add_argument("token", help="token that the double accepts")
given = arguments.parse_args()
# For a server that needs a key.
key = os.environ.get("API_KEY")


def call(method, url, body=None, token=None):
    """Status and JSON of the answer."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        answer = direct.open(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read()
    return answer.status, json.loads(text) if text else None


def server(method, path, body=None):
    return call(method, given.server + path, body, key)


def connect(method, path):
    return call(method, f"{given.connect}/v1{path}", token=given.token)


def approved(**wanted):
    """The token of a request that the double has approved."""
    status, answer = server("POST", "/request", {**wanted, "reason": "to see what it takes"})
    expect(status, 202, f"request for {wanted}: {answer}")
    token = answer["token"]
    expect(server("GET", f"/status/{token}?wait=20s")[1]["status"], "approved", "approval")
    return token


expect(server("GET", "/ready")[0], 200, "readiness")
status, found = server("POST", "/search", {"query": "pay"})
expect((status, found["results"][0]["secret_name"]), (200, "Payment provider"), "search")
for name, count in [("Postgres production", 4), ("Build key", 6), ("Two factors", 2)]:
    status, answer = server("POST", "/fields", {"secret_name": name})
    expect((status, len(answer["fields"])), (200, count), f"fields of {name}")
expect(server("POST", "/fields", {"secret_name": "nothing like it"})[0], 404, "no such title")

token = approved(secret_name="Payment provider")
status, answer = server("GET", f"/secret/{token}")
expect((status, answer.get("secret")), (200, {"credential": "demo-payment-key-0001"}), "release")
expect(server("GET", f"/secret/{token}")[0], 410, "second release")
token = approved(secrets=[{"secret_name": "Build key"}, {"secret_name": "Two factors", "vault": "Oddities"}])
expect(sorted(server("GET", f"/secret/{token}")[1]["secrets"]), ["Build key", "Two factors"], "release of two")

token = approved(secret_name="Mail")
(accounts,) = [vault["id"] for vault in connect("GET", "/vaults")[1] if vault["name"] == "Accounts"]
(mail,) = [item["id"] for item in connect("GET", f"/vaults/{accounts}/items")[1] if item["title"] == "Mail"]
expect(connect("DELETE", f"/vaults/{accounts}/items/{mail}")[0], 204, "removal of the item")
expect(server("GET", f"/secret/{token}")[0], 409, "release of an item that is gone")

# the titles are read anew for a name that is not among them
control(given.connect, "fault", {"fault": {"status": 403}, "vault": accounts, "times": {"next": 1}})
expect(server("POST", "/search", {"query": "nothing like it"})[0], 200, "search beside a vault that is out of scope")
