"""One Jupyter Server's REST interface, and the login that goes with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from http.client import responses
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urljoin

from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import DefaultLoopResolver
from tornado.simple_httpclient import (
    HTTPStreamClosedError,
    HTTPTimeoutError,
    SimpleAsyncHTTPClient,
)
from tornado.tcpclient import TCPClient

from .. import errors
from ..aio import take_exception
from . import credentials, through, trouble
from .address import ServerAddress
from .credentials import NOTHING, PASSWORD, TOKEN
from .events import Events

if TYPE_CHECKING:
    from ..remotekernel import Status
    from .through import Way

#: Bytes of an answer: a list of kernelspecs has a few thousand.
LARGEST = 16 * 1024 * 1024

#: Seconds for one request that the server only has to look something up for.
USUAL = 20.0

#: Seconds between looks whether the server has given up a kernel that is awaited.
LOOK_EVERY = 2.0

#: Characters of a server's own text that a person reads.
MOST_TEXT = 2000

#: What proxies say where the server behind them does not run. JupyterHub: 424, before its
#: version 2 503.
AWAY = (424, 502, 503, 504)

# Tornado logs a failure of TLS besides raising it. Where nobody has set logging up, as in commands,
# that would be a line on stderr before ours, which says the same to people.
logging.getLogger("tornado.general").addHandler(logging.NullHandler())

T = TypeVar("T")


class Server:
    """A server, as one process speaks to it; belongs to the I/O thread.

    Nothing is followed to another place: a redirect could take the token along.
    """

    def __init__(self, address: ServerAddress, secret: credentials.Secret | None = None) -> None:
        address.check()
        self.address = address
        self.host = address.host
        self._way: Way | None = None
        self._given = secret  # in place of the one that is kept
        self._secret: credentials.Secret | None = None
        self._cookies: dict[str, str] = {}
        #: So far: what was sent before the last one may have been refused for that.
        self.logins = 0
        self.lists_kernels = True  # as far as is known
        self._tls = _tls_context(address)
        self._login = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Server {self.host}>"

    # -- the way there ---------------------------------------------------------------------------

    async def arrive(self) -> None:
        """Have a way there, where the server is one of a host: `leave` gives it back.

        Until then, and where the way has ended, nothing can be asked. Raises one of `errors`.
        """
        there = self.address.through
        if there is None or (self._way is not None and self._way.is_open):
            return
        await self.leave()
        self._way = await through.enter(there)
        self._given, self._secret = self._way.secret, None
        # Whoever comes back to it means this very server.
        there = replace(there, wanted=str(self._way.server.port or there.wanted))
        self.address = replace(self.address, url=self._way.url, through=there)

    async def leave(self) -> None:
        """The server is not used any more."""
        way, self._way = self._way, None
        if way is not None:
            await through.leave(way)

    @property
    def found(self) -> str:
        """What the server of a host is called there: where it listens, and its directory."""
        return "" if self._way is None else self._way.server.name

    @property
    def away(self) -> Status | None:
        """How the way there is, while its host is out of reach: what is under way waits."""
        return self._way.link.status if self._way is not None and self._way.is_away else None

    @property
    def shows(self) -> str:
        """What the server gets to see of us, for people."""
        kinds = {TOKEN: "the token", PASSWORD: "the password"}
        return kinds.get("" if self._secret is None else self._secret.kind, "us without a token")

    # -- requests --------------------------------------------------------------------------------

    async def ask(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        query: str = "",
        timeout: float = USUAL,
    ) -> Any:
        """What the server answers to a request below /api: JSON, or None where it says nothing.

        `timeout` is in seconds. Raises one of `trouble`; for 404 `LookupError`, because only the
        caller knows what is missing.
        """
        sent = None if body is None and method != "POST" else json.dumps(body or {})
        headers = {"Content-Type": "application/json"} if sent is not None else {}
        response = await self.fetch(
            method, self.address.endpoint("api", *path, query=query), sent, headers, timeout
        )
        if not response.body:
            return None
        try:
            return json.loads(response.body)
        except (ValueError, RecursionError):
            kind = response.headers.get("Content-Type", "no type")
            raise trouble.NotJupyter(
                host=self.host, url=self.address.url, what=f"it answers in {kind:.60}, not in JSON"
            ) from None

    async def fetch(
        self, method: str, url: str, body: str | None, headers: Mapping[str, str], timeout: float
    ) -> HTTPResponse:
        """Send a request, logged in; once more where a login has expired. Raises as `ask`."""
        if method == "GET":
            return await twice(lambda: self._fetch(method, url, body, headers, timeout))
        return await self._fetch(method, url, body, headers, timeout)

    async def _fetch(
        self, method: str, url: str, body: str | None, headers: Mapping[str, str], timeout: float
    ) -> HTTPResponse:
        for is_last in (False, True):
            request = await self.prepare(url, method=method, body=body, timeout=timeout)
            request.headers.update(headers)
            login = self.logins
            try:
                return await self._send(request)
            except HTTPClientError as error:
                if error.code == 403 and method != "GET" and self._is_api(url):
                    # Who we are, a quota, or a Hub in place of the server, which refuses what no
                    # page of its own has sent: to this the answer is plain.
                    await self.ask("GET", "kernelspecs")
                    if is_last or login == self.logins:
                        raise self._failed(error) from None
                    continue
                if error.code not in (401, 403) or is_last or not await self.log_in_again(login):
                    raise self.trouble_of(error) from None
            except (OSError, StreamClosedError) as error:
                raise self.trouble_of(error) from None
        raise AssertionError("unreachable")

    async def events(self, url: str, *, timeout: float) -> AsyncIterator[dict[str, Any]]:
        """What is told at `url` by server-sent events, until it ends; `timeout` in seconds is for
        all of it. Raises as `ask`."""
        told: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        parser = Events()

        def take(data: bytes) -> None:
            for event in parser.feed(data):
                told.put_nowait(event)

        request = await self.prepare(url, timeout=timeout)
        request.headers["Accept"] = "text/event-stream"
        request.streaming_callback = take
        sending = asyncio.ensure_future(self._send(request))
        sending.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (event := await told.get()) is not None:
                yield event
            await sending
        except (HTTPClientError, OSError, StreamClosedError) as error:
            raise self.trouble_of(error) from None
        finally:
            sending.cancel()

    async def prepare(
        self, url: str, *, method: str = "GET", body: str | None = None, timeout: float
    ) -> HTTPRequest:
        """A request with all that shows who we are."""
        if self._secret is None:
            async with self._login:
                await self._log_in()
        return self._request(url, method, body, timeout)

    def _request(self, url: str, method: str, body: str | None, timeout: float) -> HTTPRequest:
        headers = HTTPHeaders()
        if self._secret is not None and self._secret.kind == TOKEN:
            headers["Authorization"] = f"token {self._secret.value}"
        else:
            # A token spares this; without one a value of ours in both places is asked for.
            self._cookies.setdefault("_xsrf", secrets.token_hex(16))
            _show(headers, self._cookies)
        return self._plain_request(url, method, headers, body, timeout)

    def _plain_request(
        self, url: str, method: str, headers: HTTPHeaders, body: str | None, timeout: float
    ) -> HTTPRequest:
        return HTTPRequest(
            url,
            method,
            headers,
            body,
            connect_timeout=timeout,
            request_timeout=timeout,
            follow_redirects=False,
            ssl_options=self._tls,
            allow_nonstandard_methods=True,
        )

    async def _send(self, request: HTTPRequest) -> HTTPResponse:
        client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=LARGEST)
        client.tcp_client = Connections(Resolver())
        # Not cancelled itself: tornado would log what has become of its connection.
        sending = asyncio.ensure_future(client.fetch(request))
        sending.add_done_callback(take_exception)
        try:
            return await asyncio.shield(sending)
        finally:
            client.close()

    # -- the login -------------------------------------------------------------------------------

    async def _log_in(self) -> None:
        """Get the secret, and with a password the cookie that it buys."""
        secret = self._given or await credentials.get(self.address)
        if secret.kind == PASSWORD:
            url = self.address.endpoint("login")
            cookies = {"_xsrf": secrets.token_hex(16)}
            body = urlencode({"password": secret.value, **cookies})
            headers = HTTPHeaders()
            _show(headers, cookies)
            try:
                request = self._plain_request(url, "POST", headers, body, USUAL)
                response = await self._send(request)
            except HTTPClientError as error:
                if error.response is None or error.code not in (301, 302, 303):
                    raise self.trouble_of(error) from None
                response = error.response
            except (OSError, StreamClosedError) as error:
                raise self.trouble_of(error) from None
            for cookie in response.headers.get_list("Set-Cookie"):
                if found := re.match(r"([!-:<>-~]+)=([!-:<-~]*)", cookie):
                    cookies[found[1]] = found[2]
            if len(cookies) < 2:
                raise trouble.LoginRefused(
                    host=self.host, status=response.code, connect=self.address.login
                )
            self._cookies = cookies  # until now others may have been sent with the old ones
        self._secret = secret
        self.logins += 1

    async def log_in_again(self, login: int) -> bool:
        """The server has turned away what was sent with the login of this number: whether there is
        another secret, or a new cookie."""
        async with self._login:
            if login != self.logins:
                return True  # somebody else has been here
            before = self._secret
            await self._log_in()
            assert self._secret is not None
            return self._secret.kind == PASSWORD or self._secret != before

    # -- what went wrong -------------------------------------------------------------------------

    def trouble_of(self, error: BaseException) -> errors.SshpykError | LookupError:
        """What an exception of a request means to a person."""
        address = {"host": self.host, "url": self.address.url, "connect": self.address.login}
        if isinstance(error, HTTPTimeoutError):
            return trouble.ServerSilent(**address)
        if isinstance(error, HTTPStreamClosedError):
            return trouble.ServerBroke(**address, details="It closed the connection.")
        if isinstance(error, HTTPClientError):
            return self._refusal(error, address)
        if isinstance(error, StreamClosedError) and error.real_error is not None:
            error = error.real_error
        if isinstance(error, socket.gaierror):
            return trouble.ServerUnknown(**address)
        if isinstance(error, ConnectionRefusedError):
            return trouble.ServerRefused(**address)
        if isinstance(error, ssl.SSLCertVerificationError):
            return trouble.ServerNotTrusted(**address, reason=error.verify_message)
        if isinstance(error, ssl.SSLError):
            return trouble.TlsFailed(**address, reason=getattr(error, "reason", "") or str(error))
        if isinstance(error, (StreamClosedError, ConnectionResetError, BrokenPipeError)):
            return trouble.ServerBroke(**address, details=str(error))
        return trouble.ServerSilent(**address, details=str(error))

    def _refusal(
        self, error: HTTPClientError, address: dict[str, str]
    ) -> errors.SshpykError | LookupError:
        status, response = error.code, error.response
        if status in (301, 302, 303, 307, 308):
            location = response.headers.get("Location", "") if response is not None else ""
            if self.address.is_stopped_at(urljoin(self.address.url, location)):
                return trouble.ServerStopped(**address, status=status)
            return trouble.LoginPage(**address, location=re.split(r"[?#]", location)[0][:200])
        details = _said(response)
        if status in (401, 403):
            kind = trouble.LoginRefused
            if self._secret is not None and self._secret.kind == NOTHING:
                return trouble.LoginMissing(**address)
            return kind(**address, status=status, details=details)
        hub = self.address.hub
        if status == 404:
            if hub is not None and hub.name and response is not None and self._is_others(response):
                return trouble.ServerStopped(**address, status=status)
            return LookupError(details)
        if status in (424, 503) and hub is not None:
            return trouble.ServerStopped(**address, status=status)
        if status == 429:
            pause = response.headers.get("Retry-After", "") if response is not None else ""
            return trouble.ServerBusy(**address, status=status, pause=pause, details=details)
        if status in AWAY:
            return trouble.ServerAway(**address, status=status)
        return self._failed(error)

    def _is_others(self, response: HTTPResponse) -> bool:
        """Whether an answer is not the server's own, which is JSON: where a named one does not run,
        the Hub's proxy asks the user's default one, if that runs."""
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return self._is_api(response.request.url) and not is_json

    def _is_api(self, url: str) -> bool:
        return url.startswith(self.address.endpoint("api", ""))

    def _failed(self, error: HTTPClientError) -> trouble.ServerFailed:
        details = _said(error.response)
        # The reason is often the same text once more.
        reason = responses.get(error.code, "") if details else error.message or ""
        reason = re.sub(r"[^\x20-\x7e]", "", reason)[:80] or "no reason given"
        return trouble.ServerFailed(
            host=self.host,
            url=self.address.url,
            connect=self.address.login,
            status=error.code,
            what=reason,
            details=details,
        )

    # -- what there is ---------------------------------------------------------------------------

    async def kernelspecs(self) -> dict[str, Any]:
        """What kernels the server can start: its own answer, checked as far as it is used."""
        try:
            answer = await self.ask("GET", "kernelspecs")
        except LookupError:
            raise self.not_jupyter("there is no /api/kernelspecs") from None
        specs = answer.get("kernelspecs") if isinstance(answer, dict) else None
        if not isinstance(specs, dict):
            raise self.not_jupyter("its /api/kernelspecs has no kernelspecs")
        return {
            name: entry
            for name, entry in specs.items()
            if isinstance(entry, dict) and isinstance(entry.get("spec"), dict)
        }

    async def kernels(self, *ids: str) -> list[dict[str, Any]]:
        """The kernels that run there; where the server lists none, as gateways (`lists_kernels` is
        False then), those of `ids` that it has."""
        if self.lists_kernels:
            listed = await self._list("kernels")
            if listed is not None:
                return listed
            self.lists_kernels = False
        found = []
        for id in dict.fromkeys(ids):
            with contextlib.suppress(LookupError, errors.NeedsPerson, trouble.ServerFailed):
                found.append(await self.ask("GET", "kernels", id))
        return self._with_ids(found)

    async def sessions(self) -> list[dict[str, Any]]:
        """The sessions there, each with its kernel; empty where the server does not tell."""
        found = await self._list("sessions") or []
        return [entry for entry in found if isinstance(entry.get("kernel"), dict)]

    async def _list(self, what: str) -> list[dict[str, Any]] | None:
        try:
            answer = await self.ask("GET", what)
        except (LookupError, errors.NeedsPerson, trouble.ServerFailed):
            return None
        if not isinstance(answer, list):
            raise self.not_jupyter(f"its /api/{what} is no list")
        return self._with_ids(answer)

    def _with_ids(self, answers: list[Any]) -> list[dict[str, Any]]:
        return [e for e in answers if isinstance(e, dict) and isinstance(e.get("id"), str)]

    async def kernel_name(self, id: str) -> str:
        """The kernelspec of a kernel that runs there. Raises as `ask`."""
        model = await self.ask("GET", "kernels", id)
        return str(model.get("name") if isinstance(model, dict) else None)

    async def while_there(self, id: str, work: Awaitable[T]) -> T:
        """What `work` gives, which waits for the kernel `id` to answer.

        Of a kernel that dies as it starts nothing tells: the server starts it again a few times,
        and has it no more. Then `work` is cancelled, and this raises `LookupError`.
        """
        looking = asyncio.ensure_future(self._until_gone(id))
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait({looking, working}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                looking.result()
                raise LookupError(id)
            return working.result()
        finally:
            looking.cancel()
            working.cancel()
            await asyncio.wait({looking, working})

    async def _until_gone(self, id: str) -> None:
        with contextlib.suppress(LookupError):
            while True:
                await asyncio.sleep(LOOK_EVERY)
                with contextlib.suppress(errors.SshpykError):
                    await self.ask("GET", "kernels", id)

    def kernel_id(self, kernel: object) -> str:
        """The id of a kernel that the server describes. Raises `NotJupyter`."""
        id = kernel.get("id") if isinstance(kernel, dict) else None
        if not isinstance(id, str) or not re.fullmatch(r"[\w-]{1,100}", id):
            raise self.not_jupyter("it has a kernel, and does not say its id")
        return id

    def not_jupyter(self, what: str) -> trouble.NotJupyter:
        """The error for an answer that no Jupyter Server gives."""
        return trouble.NotJupyter(host=self.host, url=self.address.url, what=what)


class Connections(TCPClient):
    """The connections of one client, which end with it: tornado's own last until they have been
    answered, though whoever asked is gone."""

    def __init__(self, resolver: Resolver) -> None:
        super().__init__(resolver=resolver)
        self._streams: list[IOStream] = []
        self._is_closed = False

    async def connect(self, *args: Any, **kwargs: Any) -> IOStream:
        """As tornado asks for it."""
        stream = await super().connect(*args, **kwargs)
        if self._is_closed:
            stream.close()
        self._streams.append(stream)
        return stream

    def close(self) -> None:
        """End them."""
        self._is_closed = True
        super().close()
        for stream in self._streams:
            stream.close()


class Resolver(DefaultLoopResolver):
    """Finds addresses while the interpreter ends too, when kernels are to be ended."""

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        """As tornado asks for it."""
        try:
            return await super().resolve(host, port, family)
        except RuntimeError:
            # There are no threads any more. To wait here keeps nobody waiting but the end.
            found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            return [(family, address) for family, _, _, _, address in found]


async def twice(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives: once more where its connection breaks, which does no harm to what only
    asks (RFC 9110, 9.2.2). A start meets many proxies that cut one now and then."""
    try:
        return await work()
    except trouble.ServerBroke:
        return await work()


def _show(headers: HTTPHeaders, cookies: Mapping[str, str]) -> None:
    """Send cookies, and what a page of the server's own would send with them."""
    headers["X-XSRFToken"] = cookies["_xsrf"]
    headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())


def _said(response: HTTPResponse | None) -> str:
    """The server's own words in an answer that is an error."""
    if response is None or not response.body:
        return ""
    text = response.body[: 4 * MOST_TEXT].decode("utf-8", "replace")
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        return "" if text.lstrip().startswith("<") else text[:MOST_TEXT]
    if isinstance(answer, dict):
        said = answer.get("message") or answer.get("reason")
        return str(said)[:MOST_TEXT] if said else ""
    return ""


def _tls_context(address: ServerAddress) -> ssl.SSLContext | None:
    """What verifies the server, and shows our certificate. Raises `SettingsError`."""
    if not address.url.startswith("https:"):
        return None
    path = address.ca
    try:
        context = ssl.create_default_context(cafile=path or None)
        if address.client_cert:
            path = address.client_cert
            # A passphrase would be asked for on the terminal, where nobody may be.
            context.load_cert_chain(path, address.client_key or None, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        if isinstance(error, ssl.SSLError) and path == address.client_cert:
            reason += " (is --client-key the private key that is of it, without a passphrase?)"
        raise errors.Unreadable(path=path, reason=reason) from None
    return context
