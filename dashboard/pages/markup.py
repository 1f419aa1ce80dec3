"""Typed helpers around Dash: ``aria-*`` attributes, and callbacks that run in the browser."""

from typing import Any

from dash import Dash, get_relative_path


def aria(**values: str | int) -> Any:
    """``aria-…`` attributes, to be unpacked into a component: ``html.Nav(**aria(label="Pages"))``."""
    return {f"aria-{name}": value for name, value in values.items()}


def at(path: str) -> str:
    """The address of a path of the hub, behind ``[hub] path_prefix``."""
    found: str = get_relative_path(path)  # type: ignore[no-untyped-call]
    return found


def in_browser(app: Dash, function: str, *wiring: Any, at_start: bool = True) -> None:
    """Register a function of ``assets/*.js``, named ``page.name``, as a clientside callback: the server is not called."""
    wire: Any = app.clientside_callback
    wire(f"window.dash_clientside.{function}", *wiring, prevent_initial_call=not at_start)
