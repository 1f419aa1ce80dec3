"""The sign-in page, with a script and a style of its own: those of the other pages need a session."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from access.caller import caller_of, needs
from access.people.cookies import forget_session, is_secure, session_of, set_session
from access.people.sign_in import SignIn
from access.refused import CallerRefused
from streams.health import is_loopback

PAGE = "/sign-in"
FILES = {PAGE: "text/html", "/sign-in.js": "text/javascript", "/sign-in.css": "text/css"}
FOLDER = Path(__file__).with_name("page")


class Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    login: Annotated[str, Field(max_length=200)]
    password: Annotated[SecretStr, Field(max_length=1_000, strict=False)]


def sign_in_router(sign_in: SignIn) -> APIRouter:
    """``/sign-in`` and ``/sign-out``."""
    router = APIRouter(include_in_schema=False)

    def served(path: str, kind: str) -> None:
        file = FOLDER / f"sign-in.{path.rpartition('.')[2] if '.' in path else 'html'}"

        @router.get(path)
        def own_file() -> Response:
            return FileResponse(file, media_type=kind, headers={"Cache-Control": "no-cache"})

    for path, kind in FILES.items():
        served(path, kind)

    @router.post(PAGE, status_code=204)
    async def begin(request: Request, given: Given) -> Response:
        address = request.client.host if request.client else ""
        try:
            if not is_secure(request.scope) and not is_loopback(address):
                raise CallerRefused(403, "not_secure", "passwords are taken over HTTPS only; open the page by https://")
            session = await sign_in.with_password(given.login, given.password.get_secret_value(), address, session_of(request.scope))
        except CallerRefused as refused:
            return JSONResponse(refused.body, refused.status, refused.headers)
        answer = Response(status_code=204)
        set_session(answer, request.scope, session)
        return answer

    @router.post("/sign-out", status_code=204, dependencies=[needs("me")])
    async def end(request: Request) -> Response:
        await sign_in.out(caller_of(request), session_of(request.scope))
        answer = Response(status_code=204)
        forget_session(answer, request.scope)
        return answer

    return router
