"""The HTTP surface: the provider's paths, and the simulator's own."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import web

from visionq.contract.result import SIMULATED_REQUEST
from visionq.devstack.simulator.account import Account, digest_of
from visionq.devstack.simulator.dialects import DIALECTS, UNIFIED
from visionq.devstack.simulator.faults import EARLY, Fault, refusal_of
from visionq.devstack.simulator.model_calls import (
    FETCH_TIMEOUT,
    Eyes,
    ModelCall,
    PaidAnswer,
    encoded,
)
from visionq.devstack.simulator.question import CHAT_COMPLETIONS, RESPONSES
from visionq.devstack.simulator.refusals import SimulatedRefusal, by_openai, by_proxy, invalid_key
from visionq.devstack.simulator.simulated_batch_routes import BatchRoutes
from visionq.http_checks import nonce_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from visionq.devstack.simulator.model_catalogue import Catalogue
    from visionq.devstack.simulator.simulator_settings import SimulatorSettings

log = logging.getLogger(__name__)

#: Where the provider's API is: ProxyAPI's pass-through, the unified one, and those of others.
BASES: Final = ("/openai/v1", UNIFIED, "/api/v1")
#: Largest request body; the provider's own limit is 512 MB.
MAX_BODY: Final = 512_000_000
#: Seconds that a hanging call lives at most.
LONGEST_HANG: Final = 3600
#: Seconds between looks whether the client of a hanging call is still there.
HANG_POLL: Final = 0.2
DECODERS: Final = 2
#: Status, as nginx logs it, of answers that nobody gets.
CLIENT_GONE: Final = 499

PAGE: Final = "<!doctype html><html><head><title>Gateway</title></head><body>OK</body></html>"

ACCOUNT: Final = web.AppKey("account", Account)
EYES: Final = web.AppKey("eyes", Eyes)


def build_app(
    catalogue: Catalogue,
    settings: SimulatorSettings,
    clock: Callable[[], float] = time.monotonic,
) -> web.Application:
    """Return the simulator as an aiohttp application with its own account."""
    app = web.Application(middlewares=[_answers], client_max_size=MAX_BODY)
    app[ACCOUNT] = Account(catalogue, settings, clock)
    routes = BatchRoutes(app[ACCOUNT], _authenticate, _cut)
    app.cleanup_ctx.extend((_with_eyes, partial(_with_batches, routes)))
    for base in BASES:
        app.router.add_post(f"{base}/responses", partial(_call, RESPONSES, base))
        app.router.add_post(f"{base}/chat/completions", partial(_call, CHAT_COMPLETIONS, base))
        routes.add_to(app, base)
        app.router.add_get(f"{base}/models", partial(_models, base))
        app.router.add_get(f"{base}/models/{{model:.+}}", partial(_model, base))
    for dialect in DIALECTS.values():
        app.router.add_get(dialect.balance_path, _balance)
    app.router.add_get("/simulator/settings", _settings)
    app.router.add_put("/simulator/settings", _configure)
    app.router.add_get("/simulator/bill", _bill)
    app.router.add_delete("/simulator/bill", _reset_bill)
    app.router.add_get("/simulator/bill/batch_lines", _batch_lines)
    app.router.add_get("/healthz", _healthz)
    return app


async def _with_eyes(app: web.Application) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT)
    with ThreadPoolExecutor(DECODERS, "decode") as executor:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            app[EYES] = Eyes(executor, session, app[ACCOUNT].catalogue.max_image_bytes)
            yield


async def _with_batches(routes: BatchRoutes, app: web.Application) -> AsyncIterator[None]:
    working = asyncio.create_task(routes.batches.work(app[EYES]))
    yield
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
    routes.close()


@web.middleware
async def _answers(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn refusals into responses, and give every response an `X-Request-ID`."""
    request_id = _request_id()
    try:
        response = await handler(request)
    except SimulatedRefusal as refused:
        refusal = refused if _is_own(request) else request.app[ACCOUNT].dialect.refusal(refused)
        response = _json(refusal.body, refusal.status, refusal.headers)
    except web.HTTPException as error:
        response = _json({"detail": error.reason}, error.status)
    except ConnectionError:
        # The client left in the middle of its request: no call was received, nobody listens.
        return web.Response(status=CLIENT_GONE)
    except Exception:
        # A defect of the simulator: said in its log, and in the answer for the test.
        log.exception("simulator.defect path=%s", request.path)
        response = _json({"detail": "The simulator itself failed; see its log."}, 500)
    if not response.prepared:
        response.headers["X-Request-ID"] = request_id
    return response


def _is_own(request: web.Request) -> bool:
    """Return whether a path is the simulator's, not the provider's."""
    return request.path.startswith("/simulator/")


def _request_id() -> str:
    """Return a request id that marks the answer as simulated."""
    return f"{SIMULATED_REQUEST}{uuid.uuid4()}"


async def _call(api: str, base: str, request: web.Request) -> web.StreamResponse:
    account = request.app[ACCOUNT]
    raw = await request.read()
    body, digest = _parsed(raw)
    account.bill.receive(digest)
    fault = account.next_fault()
    if fault in EARLY:
        return await _fail_early(request, fault)
    _authenticate(request)
    if body is None:
        message = "We could not parse the JSON body of your request."
        raise by_openai(message, code=None)
    try:
        reply = await ModelCall(api, base, body, digest, fault).answer(account, request.app[EYES])
    except SimulatedRefusal as refusal:
        refusal.headers |= _limits_of(account, body)
        _drop_hint(refusal, account)
        raise
    if account.settings.latency_s:
        await asyncio.sleep(account.settings.latency_s)
    return await _deliver(request, reply, fault, account.rate_headers(reply.model))


def _parsed(raw: bytes) -> tuple[Any, str]:
    """Return the body (`None`: no JSON) and its canonical digest."""
    try:
        body = json.loads(raw, parse_constant=_no_constant)
        return body, digest_of(body)
    except (ValueError, RecursionError):
        return None, digest_of(raw.decode("utf-8", "backslashreplace"))


def _no_constant(name: str) -> None:
    """Refuse `NaN` and `Infinity`, which JSON lacks."""
    raise ValueError(name)


def _limits_of(account: Account, body: object) -> dict[str, str]:
    model = body.get("model") if isinstance(body, dict) else None
    known = isinstance(model, str) and account.catalogue.knows(model)
    return account.rate_headers(str(model)) if known else {}


def _drop_hint(refusal: SimulatedRefusal, account: Account) -> None:
    if not account.settings.rate_headers:
        refusal.headers.pop("retry-after-ms", None)


async def _fail_early(request: web.Request, fault: Fault) -> web.StreamResponse:
    refusal = refusal_of(fault)
    if refusal is not None:
        _drop_hint(refusal, request.app[ACCOUNT])
        raise refusal
    if fault is Fault.BAD_GATEWAY:
        return web.Response(text=PAGE, status=502, content_type="text/html")
    if fault is Fault.HANG:
        await _until_gone(request)
    return _cut(request)


async def _until_gone(request: web.Request) -> None:
    deadline = time.monotonic() + LONGEST_HANG
    while time.monotonic() < deadline:
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(HANG_POLL)


def _cut(request: web.Request) -> web.StreamResponse:
    """Cut the connection; the returned response is never sent."""
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=CLIENT_GONE)


async def _deliver(
    request: web.Request, reply: PaidAnswer, fault: Fault | None, headers: dict[str, str]
) -> web.StreamResponse:
    if fault is Fault.HTML_200:
        return web.Response(text=PAGE, content_type="text/html", headers=headers)
    content = reply.body
    if fault is Fault.BROKEN_JSON:
        # Whole letters, so that what is broken is the JSON and nothing else.
        content = content[: len(content) // 2].decode(errors="ignore").encode()
    if fault is Fault.CUT_AFTER_BILLING:
        return await _cut_within(request, content)
    return web.Response(
        body=content, content_type="application/json", charset="utf-8", headers=headers
    )


async def _cut_within(request: web.Request, content: bytes) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "application/json"
    response.content_length = len(content)
    response.headers["X-Request-ID"] = _request_id()
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _authenticate(request: web.Request) -> None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != request.app[ACCOUNT].dialect.scheme or not key.strip():
        raise invalid_key()


async def _models(base: str, request: web.Request) -> web.Response:
    _authenticate(request)
    return _json({"object": "list", "data": request.app[ACCOUNT].models(base)})


async def _model(base: str, request: web.Request) -> web.Response:
    _authenticate(request)
    account, model = request.app[ACCOUNT], request.match_info["model"]
    account.check_model(model, base)
    return _json(account.model(model))


async def _balance(request: web.Request) -> web.Response:
    _authenticate(request)
    settings, dialect = request.app[ACCOUNT].settings, request.app[ACCOUNT].dialect
    if request.path != dialect.balance_path:
        raise by_proxy(404, "Not Found")
    if not settings.balance_readable:
        raise by_proxy(403, "This API key is not allowed to request the balance.")
    return _json({dialect.balance_field: settings.model_dump(mode="json")["balance_rub"]})


async def _settings(request: web.Request) -> web.Response:
    return _json(request.app[ACCOUNT].settings.model_dump(mode="json"))


async def _configure(request: web.Request) -> web.Response:
    try:
        changes = json.loads(await request.read())
    except (ValueError, RecursionError):
        changes = None
    if not isinstance(changes, dict):
        raise by_proxy(422, [{"loc": ["body"], "msg": "a JSON object", "type": "dict_type"}])
    request.app[ACCOUNT].configure(changes)
    return await _settings(request)


async def _bill(request: web.Request) -> web.Response:
    return _json(request.app[ACCOUNT].bill.to_public())


async def _batch_lines(request: web.Request) -> web.Response:
    return _json(request.app[ACCOUNT].bill.lines_to_public())


async def _reset_bill(request: web.Request) -> web.Response:
    request.app[ACCOUNT].reset_bill()
    return await _bill(request)


async def _healthz(_: web.Request) -> web.Response:
    return _json({"status": "ok"}, headers=nonce_headers())


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=encoded(value),
        status=status,
        content_type="application/json",
        charset="utf-8",
        headers=headers,
    )
