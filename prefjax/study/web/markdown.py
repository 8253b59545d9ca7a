"""Markdown of answers as HTML that can do no harm.

Answers are untrusted: raw HTML in them is shown as text, and what Markdown makes of the rest is
reduced to the elements below. Links and pictures become their words: nobody is led away from a
trial, and nothing is fetched from elsewhere.
"""

from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

_TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
    *("h4", "table", "thead", "tbody", "tr", "th", "td"),
}
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


@lru_cache(maxsize=16384)
def render(text: str) -> str:
    r"""HTML of a text.

    Args:
        text: Markdown, from anybody.

    >>> render("*yes* <script>alert(1)</script>")
    '<p><em>yes</em> &lt;script&gt;alert(1)&lt;/script&gt;</p>\n'
    >>> render("[here](javascript:alert(1)) ![dot](https://example.org/a.png)")
    '<p>[here](javascript:alert(1)) dot</p>\n'
    """
    tokens = _MARKDOWN.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h4"  # below the headings of the page
        if token.children:
            token.children = [_without_picture(child) for child in token.children]
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return nh3.clean(html, tags=_TAGS, attributes={"ol": {"start"}}, link_rel=None)


def _without_picture(token: Token) -> Token:
    return Token("text", "", 0, content=token.content) if token.type == "image" else token
