"""What the checks share: arguments, expectations, and the doubles' control API."""

import argparse
import asyncio
import json
import sys
import urllib.request

# Proxies of the environment must not get in between.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def arguments(description):
    """Reads the double's URL and token from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("url", help="base URL of the double")
    parser.add_argument("token", help="token that the double accepts")
    return parser.parse_args()


def expect(actual, wanted, what):
    """Ends the program with a line on stderr unless both are equal."""
    if actual != wanted:
        sys.exit(f"mismatch: {what}: expected {wanted!r}, got {actual!r}")


def control(url, path, order=None):
    """Calls the control API: POST with an order, GET without."""
    body = None if order is None else json.dumps(order).encode()
    request = urllib.request.Request(
        f"{url}/control/{path}", data=body, headers={"content-type": "application/json"}
    )
    with direct.open(request, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else None


async def poll_waits(url):
    """Returns once a getUpdates is waiting at the Telegram double."""
    for _ in range(500):
        calls = await asyncio.to_thread(control, url, "calls")
        if {"method": "getUpdates", "status": None} in calls:
            return
        await asyncio.sleep(0.01)
    sys.exit("mismatch: no getUpdates arrived")
