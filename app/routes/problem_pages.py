"""The pages that problems point to (RFC 9457, 3.1.1), for people."""

from html import escape

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse

from app.parameters import missing
from models.problems import Problem

router = APIRouter(include_in_schema=False)

BY_SLUG = {problem.slug: problem for problem in Problem}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ font: 1rem/1.5 system-ui; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }}</style>
<h1>{title}</h1>
{body}
</html>
"""


@router.get("/")
def home() -> RedirectResponse:
    return RedirectResponse("/docs")


@router.get("/problems")
def index() -> HTMLResponse:
    rows = (f'<li><a href="/problems/{one.slug}">{one.slug}</a>: {escape(one.title)}' for one in Problem)
    return HTMLResponse(PAGE.format(title="Problems", body=f"<ul>{''.join(rows)}</ul>"))


@router.get("/problems/{slug}")
def show(slug: str) -> HTMLResponse:
    problem = BY_SLUG.get(slug)
    if problem is None:
        raise missing("problem", slug)
    body = f"<p><code>{problem.slug}</code>, status {problem.status}</p><p>{escape(problem.remedy)}</p>"
    return HTMLResponse(PAGE.format(title=escape(problem.title), body=body))
