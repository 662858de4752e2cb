"""A connection to an MQTT broker that neither a silent broker nor a slow name server can keep from being closed."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import suppress
from typing import cast

from nanoseg.errors import needs, one_line, os_reason
from nanoseg.service.mqtt.config import Broker
from nanoseg.service.mqtt.home_assistant import OFFLINE
from nanoseg.service.mqtt.tasks import in_daemon_thread

with needs("aiomqtt", "serve"):
    import aiomqtt

CONNECT_S = 5.0  # for TCP, and for each answer of the TLS handshake
ANSWER_S = 10.0  # for the broker's answers, and for a message to go out
CLOSE_S = 0.7  # for each of two answers
_KEEPALIVE_S = 15  # a broker that is silent for twice as long is lost
_MAX_RECEIVED = 1000  # messages that wait to be read; what is received is told by topics of few messages
_REFUSED = (4, 5, 134, 135)  # MQTT's codes for user and password, of 3.1.1 and of 5

# Where nobody configured logging, Python prints warnings; what matters is told by MqttPublisher.
_LOGGER = logging.getLogger(__name__)
_LOGGER.addHandler(logging.NullHandler())


async def reach(broker: Broker, context: ssl.SSLContext | None) -> None:
    """Connect and disconnect.

    aiomqtt connects in a thread that nothing can stop and that the process waits for before it ends. After this it
    takes no time.

    Raises:
        OSError: there is no broker, or its certificate is not trusted.
    """
    await in_daemon_thread(lambda: _connect(broker, context))


def new_client(broker: Broker, context: ssl.SSLContext | None, identifier: str, status: str) -> aiomqtt.Client:
    """Return a client that is not connected yet.

    Args:
        broker: where, and as whom.
        context: of `MqttConfig.tls_context`.
        identifier: the client's, the same each time: a connection that the broker still has from before is closed
            then, and its will is published before the new connection is there, not after.
        status: the topic that is `offline` when the connection is lost.
    """
    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.user,
        password=broker.password,
        logger=_LOGGER,
        identifier=identifier,
        will=aiomqtt.Will(status, OFFLINE, qos=1, retain=True),
        timeout=ANSWER_S,
        keepalive=_KEEPALIVE_S,
        max_queued_incoming_messages=_MAX_RECEIVED,
        tls_context=context,
        # Else a small message waits for the confirmation of the one before, which brokers' systems delay.
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )


async def close(client: aiomqtt.Client, status: str) -> None:
    """Say `offline` and disconnect, or leave the former to the broker where it does not answer."""
    client.timeout = CLOSE_S
    with suppress(aiomqtt.MqttError, OSError):
        await client.publish(status, OFFLINE, qos=1, retain=True)
        await client.__aexit__(None, None, None)


def abort(client: aiomqtt.Client) -> None:
    """Close a connection without a word; nothing where it is closed."""
    # aiomqtt has no way to close the socket of a broker that does not answer, but for those of paho within it.
    paho = client._client
    if (opened := cast("socket.socket | None", paho.socket())) is not None:
        with suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
        with suppress(Exception):  # it reads the end, and lets go of the socket
            paho.loop_read()
    if client._disconnected.done() and not client._disconnected.cancelled():
        client._disconnected.exception()  # else asyncio prints that nobody asked for it


def is_refusal(error: Exception) -> bool:
    """Return whether the broker is there and does not want this user or password."""
    return isinstance(error, aiomqtt.exceptions.MqttConnectError) and getattr(error.rc, "value", error.rc) in _REFUSED


def reason(error: Exception) -> str:
    """Return why there is no connection, for a message."""
    if is_refusal(error):
        return "the broker refuses this user or password; see url and password_file of [mqtt]"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; see ca_file of [mqtt]"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError):
        return os_reason(error)
    return "no answer" if str(error) == "Operation timed out" else one_line(error)


def _connect(broker: Broker, context: ssl.SSLContext | None) -> None:
    """Connect, with TLS where it is wanted, and disconnect."""
    with socket.create_connection((broker.host, broker.port), timeout=CONNECT_S) as connection:
        if context is not None:
            with context.wrap_socket(connection, server_hostname=broker.host):
                pass
