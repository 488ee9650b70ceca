"""Lets another network in to services that listen on loopback: `python -m devstack.drill.relay ADDRESS PORT …`."""

import asyncio
import sys
from contextlib import suppress


async def main(address: str, ports: list[int]) -> None:
    servers = [await asyncio.start_server(_to(port), address, port) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _to(port: int):  # type: ignore[no-untyped-def]
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    return relay


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1], [int(port) for port in sys.argv[2:]]))
