"""A live page: a small server that tells one state, to whoever looks, and takes orders from who has the token.

The standard library's server is enough for it (docs/explain/live-page.md compares): three routes, a few watchers, no
files. It reads what it is given; an order is a function that it was given. The page loads nothing from elsewhere.
"""

import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from mustherd.errors import UserError
from mustherd.http_server import BoundedHandler, BoundedServer
from mustherd.scrape import SCRAPED

COOKIE = "mustherd"
MOST_BYTES = 65_536
"""Of an order."""
FRESH_SECONDS = 1.0
"""A state is read again when it is older: any number of watchers cost no more than one."""

State = Callable[[], dict[str, Any]]
Order = Callable[[dict[str, Any]], str]
"""Carries an order out and says what was done; UserError where it can't be."""
Page = Callable[[], str]


def live_page(nonce: str, orders: Iterable[str] = (), *, report: bool = False) -> str:
    """The page, which asks for its state by itself; its one script and style are marked with `nonce`."""
    text = resources.files("mustherd.report").joinpath("templates/live.html").read_text(encoding="utf-8")
    text = text.replace("{{nonce}}", nonce).replace("{{orders}}", " ".join(sorted(orders)))
    return text.replace("{{report}}", "yes" if report else "")


class WebError(UserError):
    """The page can't be served; the message says why."""

    exit_code = 2


class Fresh:
    """What is made anew for who asks, at most once a second and for a tenth of the time: many who ask cost as one."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._until = -1e9
        self._last: bytes | Exception = b""

    def __call__(self) -> bytes:
        """It, or what `make` raised, which costs no less and is told as long."""
        with self._lock:
            began = time.monotonic()
            if began >= self._until:
                try:
                    self._last = self._make()
                except Exception as error:
                    self._last = error
                ended = time.monotonic()
                self._until = ended + max(FRESH_SECONDS, (ended - began) * 9)
            last = self._last
        if isinstance(last, Exception):
            raise last.with_traceback(None)
        return last


def _told(state: State) -> bytes:
    try:
        found = state()
    except UserError as error:
        found = {"error": str(error)}
    return json.dumps(found, allow_nan=False).encode()


class Site:
    """What is told and what may be ordered."""

    def __init__(
        self,
        state: State,
        *,
        orders: Mapping[str, Order] | None = None,
        report: Page | None = None,
        scrape: Callable[[], bytes] | None = None,
        open_: bool = True,
    ) -> None:
        """`scrape` gives what a Prometheus reads at /metrics; `open_`: whether who has no token may look.

        Orders always need it.
        """
        self.state = Fresh(lambda: _told(state))
        """The state as JSON; an error is told as one, and the page goes on."""
        self.orders = dict(orders or {})
        self.report = Fresh(lambda: report().encode()) if report is not None else None
        self.scrape = Fresh(scrape) if scrape is not None else None
        self.open = open_
        self.token = secrets.token_urlsafe(24)

    def knows(self, token: str) -> bool:
        """Whether somebody has the token."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())


class Server(BoundedServer):
    """Serves a site until it is shut down."""

    def __init__(self, site: Site, listen: str = "127.0.0.1", port: int = 0) -> None:
        """WebError where it can't listen there."""
        self.site = site
        try:
            super().__init__(listen, port, Handler)
        except ValueError:
            raise WebError(f"{listen!r} is no address; allowed: an IPv4 or IPv6 address such as 127.0.0.1") from None
        except OSError as error:
            raise WebError(f"{listen} port {port} can't be listened on: {error.strerror or error}") from error

    @property
    def names(self) -> set[str]:
        """Hosts by which a browser on this machine calls it: another one in a request is a page that plays us."""
        return {f"{self._host}:{self.server_address[1]}", f"localhost:{self.server_address[1]}"}

    @property
    def url(self) -> str:
        """Where it is, with the token."""
        return f"http://{self._host}:{self.server_address[1]}/?token={self.site.token}"

    @property
    def _host(self) -> str:
        host = str(self.server_address[0])
        return f"[{host}]" if ":" in host else host


class Handler(BoundedHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:  # noqa: N802 (http.server calls it so)
        """The page, the state, the report."""
        site, parts = self.server.site, urlsplit(self.path)
        token = parse_qs(parts.query).get("token", [""])[0]
        if token and site.knows(token):
            # The token leaves the address, so that it isn't in a history or a screenshot.
            self._answer(
                HTTPStatus.SEE_OTHER, b"", "text/plain", {"Location": parts.path, "Set-Cookie": self._cookie()}
            )
        elif not self._may_look():
            self._answer(HTTPStatus.FORBIDDEN, b"the address with its token is needed, as the command printed it\n")
        elif parts.path == "/":
            self._page()
        elif parts.path == "/state.json":
            self._answer(HTTPStatus.OK, site.state(), "application/json")
        elif parts.path == "/report" and site.report is not None:
            policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
            try:
                page = site.report()
            except UserError as error:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode())
                return
            self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8", {"Content-Security-Policy": policy})
        elif parts.path == "/metrics" and site.scrape is not None:
            try:
                self._answer(HTTPStatus.OK, site.scrape(), SCRAPED)
            except UserError as error:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there is nothing here\n")

    def do_POST(self) -> None:  # noqa: N802 (http.server calls it so)
        """An order: from our own page, by who has the token."""
        site, name = self.server.site, urlsplit(self.path).path.removeprefix("/")
        if not self._has_token() or self.headers.get("X-MustHerd") != "order":
            self._answer(HTTPStatus.FORBIDDEN, b"only who has the token may do that\n")
            return
        order = site.orders.get(name)
        length = self.headers.get("Content-Length", "")
        if order is None or not length.isdecimal() or int(length) > MOST_BYTES:
            self._answer(HTTPStatus.BAD_REQUEST, b"that can't be done here\n")
            return
        try:
            asked = msgspec.json.decode(self.rfile.read(int(length)) or b"{}", type=dict[str, Any])
            said = order(asked)
        except msgspec.DecodeError:
            self._answer(HTTPStatus.BAD_REQUEST, b"an order is a JSON object\n")
        except UserError as error:
            self._answer(HTTPStatus.CONFLICT, f"{error}\n".encode())
        else:
            self._answer(HTTPStatus.OK, f"{said}\n".encode())

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(12)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self';"
            " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        site = self.server.site
        text = live_page(nonce, site.orders if self._has_token() else (), report=site.report is not None)
        self._answer(HTTPStatus.OK, text.encode(), "text/html; charset=utf-8", {"Content-Security-Policy": policy})

    def _has_token(self) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.server.site.knows(token)
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie_name())
        except CookieError:
            return False
        return found is not None and self.server.site.knows(found.value)

    def _may_look(self) -> bool:
        return self._has_token() or (self.server.site.open and self.headers.get("Host", "") in self.server.names)

    def _cookie_name(self) -> str:
        # Cookies know no ports: two pages on a machine would have one between them.
        return f"{COOKIE}-{self.server.server_address[1]}"

    def _cookie(self) -> str:
        return f"{self._cookie_name()}={self.server.site.token}; HttpOnly; SameSite=Strict; Path=/"

    def _answer(
        self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8", more: Mapping[str, str] = {}
    ) -> None:
        headers = {
            "Content-Type": kind, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer", **more,
        }  # fmt: skip
        self.answer(status, body, headers)
