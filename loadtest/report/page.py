"""A report is one Markdown text. As a page of its own it is the same text in one offline HTML file, with charts and folded details."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from loadtest.report.chart import Chart

TEMPLATES = Path(__file__).resolve().parent / "templates"


def write_pages(template: Path, target: Path, filters: dict[str, Callable[..., str]], **context: Any) -> list[Path]:
    """Write `target`.html and `target`.md from a Markdown template, and return their paths."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, TEMPLATES]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_inert,  # what servers and logs say is text, never markup
        autoescape=False,  # noqa: S701 - `finalize` does it
    )
    environment.filters |= {**filters, "code": _code}
    text = environment.get_template(template.name)
    written = []
    for html, ending in ((True, "html"), (False, "md")):
        environment.globals |= {"html": html, "figures": _figures if html else lambda *_: ""}
        content = re.sub(r"\n{3,}", "\n\n", text.render(context)).strip() + "\n"
        path = target.with_name(f"{target.name}.{ending}")
        path.write_text(_page(content) if html else content, encoding="utf-8")
        written.append(path)
    return written


def _inert(value: Any) -> Any:
    """Take from a value what Markdown or HTML would read as markup."""
    if isinstance(value, Markup):
        return value
    text = re.sub(r"\s+", " ", str(value)) if "\n" in str(value) else str(value)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _code(lines: Sequence[str]) -> Markup:
    return Markup("\n".join(f"    {line}" for line in (" ".join(text.split("\n")) for text in lines)))  # noqa: S704 - indented code is no markup


def _figures(charts: Sequence[Chart]) -> Markup:
    """Return charts as one block of HTML, which has no empty line."""
    return Markup("<div class='charts'>\n{}\n</div>").format(Markup("\n").join(map(_figure, charts)))


def _figure(chart: Chart) -> Markup:
    mark = Markup('<li><span class="series{}" aria-hidden="true">{}</span> {}</li>')
    items = Markup("").join(mark.format(number % 6, "●■▲◆"[number % 4], name) for number, name in chart.legend)
    legend = Markup('<ul class="legend">{}</ul>').format(items) if chart.legend else ""
    key = Markup('<p class="key">{}</p>').format(chart.key) if chart.key else ""
    head = Markup('<figure>\n<figcaption id="{0}-title">{1}</figcaption>\n{2}{3}\n').format(chart.id, chart.title, legend, key)
    return head + svg(chart, Markup('aria-labelledby="{0}-title {0}-desc"').format(chart.id)) + Markup("\n</figure>")


def svg(chart: Chart, attributes: Markup, style: str = "") -> Markup:
    described = Markup('<desc id="{}-desc">{}</desc>').format(chart.id, chart.description)
    opened = Markup('<svg {} viewBox="0 0 {} {}" role="img">').format(attributes, chart.width, chart.height)
    return Markup("\n").join(filter(None, [opened, described, style, *chart.shapes, Markup("</svg>")]))


class _Renderer(RendererHTML):
    """Regions that scroll can be reached by the keyboard; headings can be linked to, as on GitHub."""

    heading, tables = "", 0

    def heading_open(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        self.heading = tokens[index + 1].content
        slug = re.sub(r"[^\w\- ]", "", self.heading.lower()).replace(" ", "-")
        return f'<{tokens[index].tag} id="{escape(slug)}">'

    def table_open(self, *_: Any) -> str:
        self.tables += 1
        return f'<div class="scroll" tabindex="0" role="region" aria-label="Table {self.tables}: {escape(self.heading)}"><table>'

    def table_close(self, *_: Any) -> str:
        return "</table></div>"

    def code_block(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        self.tables += 1
        label = f"Lines {self.tables}: {escape(self.heading)}"
        return f'<pre tabindex="0" role="region" aria-label="{label}"><code>{escape(tokens[index].content)}</code></pre>\n'


def _page(markdown: str) -> str:
    reader = MarkdownIt("commonmark", {"html": True}, renderer_cls=_Renderer).enable("table")
    title = markdown.partition("\n")[0].removeprefix("# ")
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "chart.css"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f'<link rel="icon" href="data:,">\n<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n'
        f"{reader.render(markdown)}</main>\n</body>\n</html>\n"
    )
