"""Pages of devices: over HTTP(S), with a certificate that is known, and never beyond the address that was given."""

import base64
import hashlib
import http.client
import json
import ssl
import tomllib
import urllib.parse
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from mustherd import fetch, guard
from mustherd.errors import UserError
from mustherd.meters.base import UnreadableError

ANSWER_S = 5.0
MOST_BYTES = 1 << 20
MOST_CREDENTIALS = 4096


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks. In a file of root's or of one's own, which nobody else may read."""

    user: str
    password: str

    @classmethod
    def of(cls, path: str) -> "Credentials":
        """What the file holds. Raises UnreadableError, which never tells the password."""
        try:
            content = guard.read(Path(path), MOST_CREDENTIALS, private=True)
            return msgspec.convert(tomllib.loads(content.decode()), cls)
        except UserError as error:
            raise UnreadableError(f"credentials {error}") from None
        except OSError as error:
            raise UnreadableError(f"credentials {path}: {error.strerror}") from None
        except (ValueError, msgspec.ValidationError):
            raise UnreadableError(
                f'credentials {path}: it holds two lines: user = "..." and password = "..."'
            ) from None


class Site:
    """One device's pages."""

    def __init__(self, url: str, credentials: str = "", ca: str = "", certificate_sha256: str = "") -> None:
        """ValueError for an address that can't be asked, or that would tell a password to whoever listens."""
        self.parts = urllib.parse.urlsplit(url)
        try:
            port = self.parts.port
        except ValueError:
            port = 0
        if self.parts.scheme not in ("http", "https") or not self.parts.hostname or port == 0:
            raise ValueError(f"{url!r} is no address such as https://bmc1.example/redfish/v1")
        if self.parts.username or self.parts.password:
            raise ValueError("a password has no place in an address: name a file by `credentials`")
        if self.parts.scheme == "http" and credentials and not _here(self.parts.hostname):
            raise ValueError(f"{self.parts.hostname}: a password isn't sent over plain http; give https://")
        if self.parts.scheme == "http" and (ca or certificate_sha256):
            raise ValueError("plain http has no certificate to check; give https://")
        self._pin = certificate_sha256.replace(":", "").lower()
        if self._pin and (len(self._pin) != 64 or set(self._pin) - set("0123456789abcdef")):
            raise ValueError("certificate_sha256 is 64 hexadecimal digits")
        self._credentials, self._ca = credentials, ca

    def page(self, path: str = "") -> str:
        """The page's text; `path` is another one of the same device. Raises UnreadableError."""
        where = path or self.parts.path + (f"?{self.parts.query}" if self.parts.query else "") or "/"
        url = f"{self.parts.scheme}://{self.parts.netloc}{where}"
        if any(not "!" <= sign <= "~" for sign in where):
            raise UnreadableError(f"{url!r}: no path")
        headers = {"Accept": "application/json, text/plain", "Connection": "close"}
        if self._credentials:
            told = Credentials.of(self._credentials)
            headers["Authorization"] = "Basic " + base64.b64encode(f"{told.user}:{told.password}".encode()).decode()
        connection = self._connection()
        try:
            connection.connect()
            if isinstance(connection, http.client.HTTPSConnection):
                self._compare(connection)
            connection.request("GET", where, headers=headers)
            answer = connection.getresponse()
            content = fetch.content(answer, MOST_BYTES)
        except ssl.SSLCertVerificationError as error:
            raise UnreadableError(
                f"{url}: its certificate isn't trusted ({error.verify_message}): name what signed it by `ca`, or its"
                " own SHA-256 by `certificate_sha256`"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise UnreadableError(
                f"{url}: {getattr(error, 'strerror', None) or error or type(error).__name__}"
            ) from None
        finally:
            connection.close()
        if answer.status != 200:
            raise UnreadableError(f"{url}: answers {answer.status} {answer.reason}")
        if len(content) > MOST_BYTES:
            raise UnreadableError(f"{url}: more than {MOST_BYTES >> 20} MiB")
        return content.decode("utf-8", "replace")

    def json(self, path: str = "") -> Any:
        """The page as JSON. Raises UnreadableError."""
        text = self.page(path)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise UnreadableError(f"{self.parts.geturl()}: {path or 'its page'} is no JSON") from None

    def _connection(self) -> http.client.HTTPConnection:
        host, port = str(self.parts.hostname), self.parts.port
        if self.parts.scheme == "http":
            return fetch.PlainConnection(host, port, timeout=ANSWER_S)
        if self._pin:
            # What is pinned is compared before anything is sent; nobody need have signed it.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            try:
                context = ssl.create_default_context(cafile=self._ca or None)
            except (OSError, ssl.SSLError) as error:
                raise UnreadableError(f"ca {self._ca}: {error.strerror or error}") from None
        return http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=fetch.timed(context))

    def _compare(self, connection: http.client.HTTPSConnection) -> None:
        shown = connection.sock.getpeercert(binary_form=True) if self._pin else None
        if self._pin and hashlib.sha256(shown or b"").hexdigest() != self._pin:
            found = hashlib.sha256(shown or b"").hexdigest()
            raise UnreadableError(f"{self.parts.netloc} shows another certificate than certificate_sha256: {found}")


def _here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def found_at(tree: Any, keys: tuple[str | int, ...]) -> Any:
    """What stands below these keys. KeyError where nothing does."""
    for key in keys:
        try:
            tree = tree[int(key)] if isinstance(tree, list) else tree[str(key)]
        except (LookupError, TypeError, ValueError):
            raise KeyError(key) from None
    return tree
