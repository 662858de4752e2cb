"""FFmpeg's errors of a stream in plain words, with what to do."""

from __future__ import annotations

import re

# What FFmpeg says or logs, and what it means. The first that fits counts.
_REASONS: tuple[tuple[str, str], ...] = (
    (r"not on whitelist", "its format, or the protocol that it leads to, is not allowed for a stream"),
    (r"\b401\b|Unauthorized", "wrong user or password (401); give them as //user:password@, special letters as %40"),
    (r"\b403\b|Forbidden", "access is forbidden (403); check the user's rights, or the camera's list of addresses"),
    (r"\b40[04]\b|Not Found|Bad Request", "no such stream (404); check the path behind the host"),
    (r"\b(453|503)\b", "busy: the source refuses another session (503); close others, or allow more in its settings"),
    (r"\b461\b|Unsupported Transport", "the source does not serve this transport (461); try #transport=tcp or udp"),
    (r"5XX|\b5\d\d\b", "the source reports an error of its own (5xx)"),
    (r"resolve hostname|Name or service not known", "the host's name is not known; check it, or give the IP address"),
    (r"Connection refused", "connection refused: nothing listens at this port; check port and service"),
    (r"No route to host|Network is unreachable", "no route to the host; check the address and the network"),
    (r"certificate|TLS|SSL|gnutls|handshake", "the TLS connection failed; check that this port speaks TLS"),
    (r"Immediate exit|timed out|Timeout", "no answer in time"),
    (r"Port missing|Invalid port", "the port is not valid"),
    (r"Protocol not found", "PyAV's FFmpeg does not speak this protocol; try #backend=gstreamer"),
    (r"reset by peer|Broken pipe", "the source closed the connection"),
    (r"End of file|ends prematurely", "the source ended the stream"),
    (r"Input/output error", "the connection failed"),
    (r"Invalid data", "what it sends is no stream of a known kind; check the path"),
)


def reason(error: BaseException, messages: list[str]) -> str:
    """Return why a stream failed, on one line.

    Args:
        error: PyAV's.
        messages: what FFmpeg logged meanwhile; the latest tells the cause more exactly than the error.
    """
    said = str(error)
    # The address is quoted in it, and its parts would be found.
    said = re.sub(r"'[^']*'", "", said)
    for text in (*reversed(messages), said):
        text = re.sub(r"\w+://\S+", "", text)
        for pattern, words in _REASONS:
            if re.search(pattern, text, re.IGNORECASE):
                return words
    return " ".join(said.partition("; last error log")[0].split()) or type(error).__name__
