"""A service's HTTP paths, as commands call them."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from nanoseg.errors import UsageError, one_line, os_reason
from nanoseg.service.config import is_loopback

_ANSWER_S = 30.0  # of a machine that is busy
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Client:
    """Asks one service. No proxy is asked and no redirection followed, as the token goes along."""

    url: str
    token: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the service runs on this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON that a path answers.

        Args:
            method: of HTTP.
            path: from the root.
            body: sent as JSON; None: no body.

        Raises:
            UsageError: `url` is no address of HTTP, the service cannot be reached, or refuses.
        """
        data = None if body is None else msgspec.json.encode(body)
        headers = {} if data is None else {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = self._connection()
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            answer = response.read(_MAX_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else one_line(error)
            raise UsageError(f"{self.url}: the service does not answer: {reason}; nanoseg service status") from error
        finally:
            connection.close()
        if response.status == 401:
            given = "another" if self.token else "its"
            raise UsageError(f"{self.url}: the service wants {given} token: --token-file FILE")
        try:
            decoded = msgspec.json.decode(answer)
        except msgspec.DecodeError as error:
            raise UsageError(f"{self.url}{path}: wanted JSON, got {response.status} {response.reason}") from error
        if response.status >= 300:
            reason = decoded.get("error", response.reason) if isinstance(decoded, dict) else response.reason
            raise UsageError(f"{self.url}: {reason}")
        return decoded

    def _connection(self) -> http.client.HTTPConnection:
        try:
            parts = urlsplit(self.url)
            if parts.hostname and parts.path in ("", "/") and not parts.query:
                if parts.scheme == "http":
                    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=_ANSWER_S)
                if parts.scheme == "https":
                    return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=_ANSWER_S)
        except ValueError:  # of the port, or of brackets
            pass
        raise UsageError(f"--url: wanted http://HOST:PORT, got {self.url}")
