"""A server of Python's `websockets` for the load generator: echo on every path, and
on /broadcast everything that anybody sends goes to everybody there.
"""

import asyncio

import websockets

present = set()


async def handle(connection):
    is_broadcast = connection.request.path == "/broadcast"
    if is_broadcast:
        present.add(connection)
    try:
        async for message in connection:
            if is_broadcast:
                websockets.broadcast(present, message)
            else:
                await connection.send(message)
    except websockets.ConnectionClosed:
        pass
    finally:
        present.discard(connection)


async def main():
    options = {"compression": None, "max_size": None, "ping_interval": None}
    async with websockets.serve(handle, "127.0.0.1", 0, **options) as server:
        print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


asyncio.run(main())
