"""Web pages of a study: Starlette, Jinja2, no JavaScript needed; the extra ``study``."""
