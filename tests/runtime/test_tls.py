"""TLS of the public listener."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from strangler.config.settings import Settings
from strangler.runtime.rooms import server_tls
from tests.front.certificates import Authority


@pytest.mark.parametrize("named", ["the root", "one that the root signed"])
async def test_clients_with_certificates_of_a_house_are_let_in_by_every_python(named: str, tmp_path: Path) -> None:
    root = Authority(tmp_path, "Root", terse=True)
    authority = root if named == "the root" else Authority(tmp_path, "Brokers", by=root, terse=True)
    certificate, key = authority.issue("strangler")
    tls = server_tls(Settings(tls_cert=certificate, tls_key=key, tls_client_ca=authority.ca))

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = dict(pair[0] for pair in writer.get_extra_info("peercert")["subject"])
        writer.write(subject["commonName"].encode())
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(*authority.issue("broker-a"))
    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=tls) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=context)
        assert await reader.read() == b"broker-a"
        writer.close()
