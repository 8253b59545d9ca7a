"""Web pages of a study: Starlette, Jinja2, no JavaScript needed; the extra ``study``."""

from prefjax.study.web._serve import serve
from prefjax.study.web.app import StudySite

__all__ = ["StudySite", "serve"]
