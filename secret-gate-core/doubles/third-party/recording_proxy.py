"""Passes requests on to a Connect server, and writes each with its answer as a JSON line into a file."""

import argparse
import asyncio
import json

from aiohttp import ClientSession, web

# Headers of one connection, which the next one sets anew.
OF_THE_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


def passed_on(headers):
    return {name: value for name, value in headers.items() if name.lower() not in OF_THE_CONNECTION}


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream", help="base URL of the server behind")
    parser.add_argument("record", type=argparse.FileType("w"), help="file to write")
    given = parser.parse_args()

    async def forward(request):
        body = await request.read()
        url = given.upstream + request.raw_path
        async with session.request(request.method, url, headers=passed_on(request.headers), data=body) as answer:
            content = await answer.read()
            exchange = {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "headers": dict(request.headers),
                "body": body.decode(errors="replace"),
                "status": answer.status,
                "content_type": answer.headers.get("content-type", ""),
                "answer": content.decode(errors="replace"),
            }
            given.record.write(json.dumps(exchange) + "\n")
            given.record.flush()
            return web.Response(status=answer.status, headers=passed_on(answer.headers), body=content)

    async with ClientSession(auto_decompress=False) as session:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        print(f"export OP_CONNECT_HOST=http://127.0.0.1:{port}", flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
