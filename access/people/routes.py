"""The sign-in page, with a script and a style of its own: those of the other pages need a session."""

from html import escape
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from access.caller import caller_of, needs
from access.people.cookies import attempt_of, forget_session, is_secure, session_of, set_attempt, set_session
from access.people.sign_in import SignIn
from access.refused import CallerRefused
from storage.errors import Overloaded
from streams.health import is_loopback

PAGE = "/sign-in"
FILES = {"/sign-in.js": "text/javascript", "/sign-in.css": "text/css", "/sign-in.svg": "image/svg+xml; charset=utf-8"}
PROVIDER, CALLBACK = "/oidc-start", "/oidc-callback"  # in the same folder as the page, whose addresses are relative
PATHS = (PAGE, *FILES, PROVIDER, CALLBACK)
FOLDER = Path(__file__).with_name("page")


class Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    login: Annotated[str, Field(max_length=200)]
    password: Annotated[SecretStr, Field(max_length=1_000, strict=False)]


def sign_in_router(sign_in: SignIn, path_prefix: str = "") -> APIRouter:
    """``/sign-in`` and ``/sign-out``, and the ways to the identity provider and back; the browser sees them under ``path_prefix``."""
    router = APIRouter(include_in_schema=False)
    by_provider = sign_in.by_provider

    def page(status: int = 200, problem: str = "") -> Response:
        link = ""
        if by_provider is not None:
            link = f'<a id="provider" href="{PROVIDER[1:]}">Continue with {escape(by_provider.provider.settings.name)}</a>'
        said = escape(problem[:1].upper() + problem[1:] + "." if problem else "")
        text = (FOLDER / "sign-in.html").read_text(encoding="utf-8").replace("<!-- provider -->", link).replace("<!-- problem -->", said)
        return HTMLResponse(text, status, {"Cache-Control": "no-store" if problem else "no-cache"})

    router.get(PAGE)(lambda: page())

    def served(path: str, kind: str) -> None:
        @router.get(path)
        def own_file() -> Response:
            return FileResponse(FOLDER / path[1:], media_type=kind, headers={"Cache-Control": "no-cache"})

    for path, kind in FILES.items():
        served(path, kind)

    @router.post(PAGE, status_code=204)
    async def begin(request: Request, given: Given) -> Response:
        address = request.client.host if request.client else ""
        try:
            _check_secure(request)
            session = await sign_in.with_password(given.login, given.password.get_secret_value(), address, session_of(request.scope))
        except CallerRefused as refused:
            return JSONResponse(refused.body, refused.status, refused.headers)
        answer = Response(status_code=204)
        set_session(answer, request.scope, session)
        return answer

    if by_provider is not None:

        @router.get(PROVIDER)
        async def to_provider(request: Request, next: str = "/") -> Response:
            if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                return page()  # a link elsewhere signs nobody in who has not pressed the button here
            try:
                _check_secure(request)
                redirect = f"{request.url.scheme}://{request.headers['host']}{path_prefix}{CALLBACK}"
                text, attempt = by_provider.attempts.begin(redirect, next if next.startswith("/") else "/")
                answer = RedirectResponse(await by_provider.provider.address(attempt), 303)
            except CallerRefused as refused:
                return page(refused.status, str(refused))
            set_attempt(answer, request.scope, text)
            return answer

        @router.get(CALLBACK)
        async def from_provider(request: Request) -> Response:
            try:
                query = dict(request.query_params)
                attempt = by_provider.attempts.take(attempt_of(request.scope), query.get("state", ""))
                person = await by_provider.person(attempt, query)
                session = await sign_in.begin(person, "oidc", session_of(request.scope))
            except CallerRefused as refused:
                return page(refused.status, str(refused))
            except Overloaded as error:
                return page(503, str(error))
            answer = RedirectResponse(f"{path_prefix}/{attempt.next.lstrip('/')}", 303)  # one slash: it cannot leave this site
            set_session(answer, request.scope, session)
            return answer

    @router.post("/sign-out", status_code=204, dependencies=[needs("me")])
    async def end(request: Request, everywhere: bool = False) -> Response:
        await sign_in.out(caller_of(request), session_of(request.scope), everywhere=everywhere)
        answer = Response(status_code=204)
        forget_session(answer, request.scope)
        return answer

    return router


def _check_secure(request: Request) -> None:
    if not is_secure(request.scope) and not is_loopback(request.client.host if request.client else ""):
        raise CallerRefused(403, "not_secure", "people sign in over HTTPS only; open the page by https://")
