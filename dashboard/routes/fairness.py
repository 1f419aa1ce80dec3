"""Selection rates and impact ratios."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from access.caller import needs
from dashboard.routes.parts import Services, file, files
from storage.events import Source
from trainers.audits.outcomes.csv_files import categories_csv, tables_csv
from trainers.audits.outcomes.tables import OutcomesTable


def routes(services: Services) -> APIRouter:
    router = APIRouter(dependencies=[needs("read")])

    @router.get("/fairness/impact-ratios")
    def impact_ratios(
        since: Annotated[date, Query(alias="from")],
        until: Annotated[date, Query(alias="to")],
        source: Annotated[list[Source] | None, Query()] = None,
    ) -> OutcomesTable:
        """Selection rates, scoring rates and impact ratios of the decisions recorded from one day to another (UTC), both included."""
        return services.impact_ratios(since, until, tuple(source or ("product",)))

    @router.get("/fairness/impact-ratios.csv", responses=files("text/csv"), response_class=Response)
    def impact_ratios_csv(
        since: Annotated[date, Query(alias="from")],
        until: Annotated[date, Query(alias="to")],
        source: Annotated[list[Source] | None, Query()] = None,
        rows: Literal["categories", "tables"] = "categories",
    ) -> Response:
        """The same as CSV, with a row for each category, or for each table: the files of ``feedbackloop audit ll144``."""
        found = services.impact_ratios(since, until, tuple(source or ("product",)))
        text = categories_csv(found) if rows == "categories" else tables_csv(found)
        name = "impact_ratios.csv" if rows == "categories" else "tables.csv"
        return file(text.encode(), "text/csv; charset=utf-8", name)

    return router
