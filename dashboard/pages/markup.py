"""Two small gaps between Dash and a type checker: attributes that are no Python names, and callbacks that run in the browser."""

from typing import Any

from dash import Dash


def aria(**values: str | int) -> Any:
    """``aria-…`` attributes, to be unpacked into a component: ``html.Nav(**aria(label="Pages"))``."""
    return {f"aria-{name}": value for name, value in values.items()}


def in_browser(app: Dash, function: str, *wiring: Any, at_start: bool = True) -> None:
    """Wire a function of ``assets/*.js``, ``page.name``, to its outputs and inputs; it never comes to the server."""
    wire: Any = app.clientside_callback
    wire(f"window.dash_clientside.{function}", *wiring, prevent_initial_call=not at_start)
