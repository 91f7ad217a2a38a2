"""The Python SDK: each revision that the installed version speaks.

check_sdk.py SERVER_URL TELEGRAM_URL PROGRAM FOLDER
"""

import asyncio
import base64
import contextlib
import datetime
import importlib.metadata
import json
import os
import sys
import urllib.request

import mcp

SERVER, TELEGRAM, PROGRAM, FOLDER = sys.argv[1:5]
VALUE = "correct-horse-battery"
# When the client gives up on a call, how long a call waits, and when the human answers.
GIVES_UP, WAITS, APPROVES = (
    float(os.environ.get(name, fallback)) for name, fallback in [("GIVES_UP", 6), ("WAITS", 4), ("APPROVES", 18)]
)
IS_OLD = importlib.metadata.version("mcp").startswith("1.")


def expect(holds, what, got=None):
    """Ends the check unless this holds."""
    if not holds:
        raise SystemExit(f"mismatch: {what}, got {got!r}")


# Proxies of the environment must not get in between.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def control(path, order=None):
    """Calls the control API of the Telegram double."""
    body = None if order is None else json.dumps(order).encode()
    request = urllib.request.Request(f"{TELEGRAM}/control/{path}", body, {"content-type": "application/json"})
    with direct.open(request, timeout=10) as answer:
        return json.loads(answer.read())


async def asked(*words):
    """The messages with these words."""
    messages = await asyncio.to_thread(control, "messages")
    return [message for message in messages if all(word in message["plain"] for word in words)]


async def told(*words):
    """Waits for a message with these words."""
    for _ in range(600):
        found = await asked(*words)
        if found:
            return found[0]
        await asyncio.sleep(0.1)
    raise SystemExit(f"mismatch: no message with {words}")


async def press(words, button):
    """Presses a button on the question with these words."""
    message = await told(words)
    await asyncio.to_thread(control, "press", {"message_id": message["message_id"], "button": button})


def started(name, *arguments):
    """How the program is started: on a machine of its own."""
    home = f"{FOLDER}/{name}"
    # one that nobody listens at, and one whose questions expire at once
    servers = {"away": "http://127.0.0.1:1", "late": os.environ["IMPATIENT"]}
    server = servers.get(name.rsplit("-", 1)[-1], SERVER)
    os.makedirs(home, mode=0o700, exist_ok=True)
    env = {"HOME": home, "XDG_RUNTIME_DIR": home, "PATH": "/usr/bin:/bin", "SECRET_GATE_URL": server}
    return mcp.StdioServerParameters(command=PROGRAM, args=list(arguments), env=env, cwd=home)


class Newer:
    """A client of version 2 of the SDK."""

    def __init__(self, client):
        self.client = client
        self.version, self.instructions = client.protocol_version, client.instructions

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, mode, name, *arguments):
        info = mcp.types.Implementation(name=name, version="9.9")
        async with mcp.Client(started(name, *arguments), mode=mode, client_info=info) as client:
            yield cls(client)

    async def list(self):
        return [tool.name for tool in (await self.client.list_tools()).tools if tool.output_schema]

    async def call(self, tool, arguments, timeout=None, progress=None):
        result = await self.client.call_tool(tool, arguments, timeout, progress)
        return result.is_error, result.structured_content, result.content[0].text

    async def cancel(self, task):
        """The SDK itself tells the server."""
        task.cancel()


class Older:
    """A client of version 1 of the SDK."""

    def __init__(self, session, initialized):
        self.session = session
        self.version, self.instructions = initialized.protocolVersion, initialized.instructions

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, _, name, *arguments):
        info = mcp.types.Implementation(name=name, version="9.9")
        async with (
            mcp.stdio_client(started(name, *arguments)) as streams,
            mcp.ClientSession(*streams, client_info=info) as session,
        ):
            yield cls(session, await session.initialize())

    async def list(self):
        return [tool.name for tool in (await self.session.list_tools()).tools if tool.outputSchema]

    async def call(self, tool, arguments, timeout=None, progress=None):
        within = timeout and datetime.timedelta(seconds=timeout)
        result = await self.session.call_tool(tool, arguments, within, progress)
        return result.isError, result.structuredContent, result.content[0].text

    async def cancel(self, task):
        """It does not tell the server by itself; the call is the last one that was made."""
        params = mcp.types.CancelledNotificationParams(requestId=self.session._request_id - 1, reason="changed its mind")
        cancelled = mcp.types.CancelledNotification(method="notifications/cancelled", params=params)
        await self.session.send_notification(mcp.types.ClientNotification(cancelled))
        task.cancel()


async def scenario(name, version, mode):
    """What every client goes through."""
    connect = (Older if IS_OLD else Newer).connect
    patience = asyncio.create_task(patient(name, connect, mode))
    async with connect(mode, name, "--grace", "1s") as client:
        await talk(name, version, client)
    async with connect(mode, f"{name}-away") as client:
        is_error, structured, text = await client.call("search_secrets", {"query": "db"})
        expect(is_error and structured is None and "reach" in text, f"{name}: server away", text)
    async with connect(mode, f"{name}-late") as client:
        ask = {"secret_name": "db", "reason": f"{name} comes late"}
        is_error, structured, text = await client.call("request_secret", ask)
        expect(not is_error and structured["status"] == "expired", f"{name}: expired", text)
    await patience
    print(f"{name}: {version}, all as it should be", flush=True)


async def talk(name, version, client):
    heard = []

    async def call(tool, arguments, **options):
        result = await client.call(tool, arguments, **options)
        heard.append(json.dumps(result))
        return result

    async def done(tool, arguments, **options):
        is_error, structured, text = await call(tool, arguments, **options)
        expect(not is_error and json.loads(text) == structured, f"{name}: {tool}", text)
        return structured

    async def refused(tool, arguments, words):
        is_error, structured, text = await call(tool, arguments)
        expect(is_error and structured is None and words in text, f"{name}: {tool} says {words}", text)

    expect(client.version == version, f"{name}: revision", client.version)
    expect("request_secret" in client.instructions, f"{name}: instructions")
    names = "search_secrets inspect_fields request_secret exec_with_secret ssh_with_secret daemon_status"
    expect(" ".join(await client.list()) == names, f"{name}: list")
    expect(name in (await done("daemon_status", {}))["socket_path"], f"{name}: status")
    expect((await done("search_secrets", {"query": "db"}))["count"] == 1, f"{name}: search")
    expect(len((await done("inspect_fields", {"secret_name": "db"}))["fields"]) == 2, f"{name}: fields")

    reason = f"{name} needs it"
    execute = {"secret_name": "db", "field": "password", "env_var": "P", "command": "printf %s $P | base64; echo $P; exit 4"}
    login = {"secret_name": "deploy-key", "host": "ann@127.0.0.1", "port": 1, "command": "id"}
    await refused("inspect_fields", {"secret_name": "nothing like it"}, "search_secrets")
    await refused("request_secret", {"secret_name": "dbx", "reason": reason}, "Did you mean db")
    await refused("request_secret", {"secret_name": "twin", "reason": reason}, "vault other")
    await refused("exec_with_secret", execute, '"env_var":"P"')
    await refused("ssh_with_secret", login, '"host":"ann@127.0.0.1"')
    await refused("search_secrets", {"query": 5}, "invalid type")
    try:
        is_error = (await client.call("no_such_tool", {}))[0]
    except Exception:  # noqa: BLE001 # each version has its own kind
        is_error = True
    expect(is_error, f"{name}: unknown tool")

    # progress, and an approval
    progress = asyncio.Queue()

    async def hear(elapsed, _total, message):
        progress.put_nowait((elapsed, message))

    asking = asyncio.create_task(done("request_secret", {"secret_name": "db", "reason": reason}, progress=hear))
    elapsed, message = await asyncio.wait_for(progress.get(), 60)
    expect(elapsed > 0 and message, f"{name}: progress", (elapsed, message))
    await press(reason, "Approve")
    approved = await asking
    expect(approved["status"] == "approved" and "password" in approved["fields_available"], f"{name}: approved", approved)
    ran = await done("exec_with_secret", execute)
    expect(ran["exit_code"] == 4 and ran["stdout"].count("[redacted:db/password]") == 2, f"{name}: exec", ran)

    # exactly one login, to where nobody listens
    asking = asyncio.create_task(done("request_secret", {**login, "reason": f"{name} logs in"}))
    await press(f"{name} logs in", "Approve")
    expect((await asking)["status"] == "approved", f"{name}: login approved")
    expect((await done("ssh_with_secret", login))["exit_code"] == 255, f"{name}: ssh")

    # no
    asking = asyncio.create_task(done("request_secret", {"secret_name": "deploy-key", "reason": f"{name} must not"}))
    await press(f"{name} must not", "Deny")
    expect((await asking)["status"] == "denied", f"{name}: denied")

    # cancel
    reason = f"{name} changes its mind"
    asking = asyncio.create_task(client.call("request_secret", {"secret_name": "deploy-key", "reason": reason}))
    await told(reason)
    await client.cancel(asking)
    await asyncio.wait([asking])
    await told(reason, "Withdrawn")

    # many at once
    many = [done("search_secrets", {"query": "db", "limit": at}) for at in range(1, 21)]
    expect(all(found["count"] == 1 for found in await asyncio.gather(*many)), f"{name}: many at once")
    everything = "".join(heard)
    encoded = base64.b64encode(VALUE.encode()).decode()
    expect(VALUE not in everything and encoded not in everything, f"{name}: no value")


async def patient(name, connect, mode):
    """An approval takes longer than the client waits for any call."""
    reason = f"{name} is patient"

    async def human():
        await told(reason)
        await asyncio.sleep(APPROVES)
        await press(reason, "Approve")

    deciding = asyncio.create_task(human())
    async with connect(mode, name, "--wait", f"{WAITS:g}s") as client:
        calls, status = 0, "pending"
        while status == "pending":
            calls += 1
            arguments = {"secret_name": "patient", "reason": reason}
            _, structured, text = await client.call("request_secret", arguments, timeout=GIVES_UP)
            expect(structured, f"{name}: patience", text)
            status = structured["status"]
    await deciding
    expect(status == "approved" and calls > 2, f"{name}: patience", status)
    expect(len(await asked(reason)) == 1, f"{name}: one question in {calls} calls")


async def main():
    if IS_OLD:
        await scenario("python-sdk-1", "2025-06-18", None)
    else:
        await asyncio.gather(
            scenario("python-sdk-2-legacy", "2025-11-25", "legacy"), scenario("python-sdk-2", "2026-07-28", "auto")
        )


asyncio.run(main())
