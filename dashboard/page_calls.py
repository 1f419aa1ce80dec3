"""Validates the pages' callback requests before Dash handles them: Dash trusts them, and answers an invalid one with a 500 and no log line.

Runs inside Dash's own middleware, which swallows every error that reaches it.
"""

import json
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from dash import Dash
from dash.exceptions import DependencyException, PreventUpdate
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from access.caller import CALLER, NOBODY, Caller
from access.permissions import Permission
from storage.errors import NotAllowed
from storage.events import problems
from streams.http.errors import CLIENT, error_body
from streams.http.request_guard import answer_failure, log_refusal

log = logging.getLogger(__name__)

CALL = "/_dash-update-component"
SUITES = "/_dash-component-suites/"


_caller: ContextVar[Caller] = ContextVar("page_caller", default=NOBODY)  # Dash passes no request to callbacks


def page_caller() -> Caller:
    """Who makes the call, for callbacks that act for them."""
    return _caller.get()


class CallRefused(Exception):
    """A call that no page of this hub makes, or that holds values this hub did not write."""


class Property(BaseModel):
    """A property of a component of the page, and its value."""

    model_config = ConfigDict(extra="allow")

    id: str | dict[str, str | int | float]
    property: str


Properties = tuple[Property | tuple[Property, ...], ...]


class Call(BaseModel):
    """The parts of a call that Dash reads without checking."""

    model_config = ConfigDict(extra="allow")

    output: str
    outputs: Property | Properties | None = None
    inputs: Properties = ()
    state: Properties = ()
    changedPropIds: tuple[str, ...] = ()


class PageCalls:
    """ASGI middleware.

    Parameters
    ----------
    pages : returns the Dash app once it exists
    needed : the permission that each callback needs, by its output; None where anybody who may see a page may call it
    """

    def __init__(self, app: ASGIApp, pages: Callable[[], Dash], needed: Mapping[str, Permission | None]) -> None:
        self._app = app
        self._pages = pages
        self._needed = needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            _caller.set(scope[CALLER])
        if scope["type"] == "websocket":
            await self._app(scope, self._checked_messages(scope, receive, send), send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if scope["path"] == CALL and scope["method"] == "POST":
                check_call(self._pages(), self._needed, scope[CALLER], scope.get("state", {}).get("json_body"))
            await self._app(scope, receive, send)
        except PreventUpdate:
            await Response(status_code=204)(scope, receive, send)
        except DependencyException:
            await JSONResponse(error_body("there is no such component file", CLIENT, code="not_found"), 404)(scope, receive, send)
        except CallRefused as refused:
            await JSONResponse(error_body(str(refused), CLIENT, code="invalid_value"), 400)(scope, receive, send)
        except NotAllowed as refused:
            await JSONResponse(error_body(str(refused), CLIENT, code="not_allowed"), 403)(scope, receive, send)
        except ValidationError as error:
            if scope["path"] != CALL:
                await answer_failure(error, scope, receive, send)
                return
            text = f"the page holds values that this hub did not write ({problems(error.errors(include_input=False))}); reload it"
            await JSONResponse(error_body(text, CLIENT, code="invalid_value"), 400)(scope, receive, send)
        except Exception as error:  # noqa: BLE001  process edge: logged with its traceback
            await answer_failure(error, scope, receive, send)

    def _checked_messages(self, scope: Scope, receive: Receive, send: Send) -> Receive:
        """``receive`` that closes the channel at the first invalid message."""

        async def received() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            try:
                _check_message(self._pages(), self._needed, scope[CALLER], message)
            except (CallRefused, NotAllowed) as refused:
                log_refusal(scope, 403 if isinstance(refused, NotAllowed) else 400, str(refused))
                await send({"type": "websocket.close", "code": 1008, "reason": str(refused)[:100]})
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        return received


def check_call(pages: Dash, needed: Mapping[str, Permission | None], caller: Caller, body: Any) -> None:
    """Refuse a call unless it names a callback of the pages that the caller may see, and passes the arguments declared for it.

    Raises
    ------
    CallRefused
        Not a JSON object of the right keys, an unknown output, or other inputs, state or outputs than the callback's.
    NotAllowed
        The caller may not see the callback's page.
    """
    try:
        call = Call.model_validate(body)
    except ValidationError as error:
        raise CallRefused(f"not a valid callback request: {problems(error.errors(include_input=False))}") from error
    known = pages.callback_map.get(call.output)
    if known is None or "callback" not in known:
        raise CallRefused(f"no callback has the output {call.output[:80]!r}; reload the page")
    if (permission := needed[call.output]) is not None:
        caller.require(permission)
    outputs = call.outputs if call.output.startswith("..") else (call.outputs,)
    names = [] if known.get("no_output") else [name.rpartition(".")[::2] for name in call.output.strip(".").split("...")]
    wanted = {
        "inputs": (call.inputs, [(each["id"], each["property"]) for each in known["inputs"]]),
        "state": (call.state, [(each["id"], each["property"]) for each in known["state"]]),
        "outputs": (outputs if names else (), [(name, prop.partition("@")[0]) for name, prop in names]),
    }
    for part, (given, declared) in wanted.items():
        if not isinstance(given, tuple) or len(given) != len(declared) or not all(map(_matches, given, declared)):
            raise CallRefused(f"{part} do not match the callback {call.output[:80]!r}; reload the page")


def _check_message(pages: Dash, needed: Mapping[str, Permission | None], caller: Caller, message: Message) -> None:
    try:
        body = json.loads(message.get("text") or "")
    except (ValueError, RecursionError) as error:
        raise CallRefused("a push channel message is not JSON") from error
    if not isinstance(body, dict) or not all(isinstance(body.get(key, ""), str) for key in ("type", "requestId", "rendererId")):
        raise CallRefused("a push channel message is not a JSON object with strings in type, requestId and rendererId")
    if body.get("type") == "callback_request":
        payload: Any = body.get("payload")
        check_call(pages, needed, caller, payload)
        if not pages.callback_map[payload["output"]].get("websocket"):
            raise CallRefused(f"{payload['output'][:80]!r} is not a callback of the push channel")


def _matches(given: object, declared: tuple[str, str]) -> bool:
    """Whether this is the declared property; for a pattern, any number of components that match it."""
    name, prop = declared
    if not name.startswith("{"):
        return isinstance(given, Property) and (given.id, given.property.partition("@")[0]) == (name, prop)
    pattern = json.loads(name)
    return isinstance(given, tuple) and all(
        each.property == prop
        and isinstance(each.id, dict)
        and each.id.keys() == pattern.keys()
        and all(value == ["ALL"] or each.id[key] == value for key, value in pattern.items())
        for each in given
    )
