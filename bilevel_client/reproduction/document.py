"""A report: headings, text, tables and figures, written as Markdown with files beside it, and as one HTML file."""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure


class Text(NamedTuple):
    """A paragraph of Markdown: plain text, `code`, **bold**."""

    words: str


class Table(NamedTuple):
    """Cells are text; the first row says what the columns are."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Picture(NamedTuple):
    """A figure, with what it shows in words."""

    name: str
    """Of its files."""
    caption: str
    figure: Figure


class Section(NamedTuple):
    """A heading and what stands below it."""

    heading: str
    parts: Sequence[Text | Table | Picture]


class Document(NamedTuple):
    """The whole report."""

    title: str
    sections: Sequence[Section]
    notes: Sequence[Text] = ()
    """What is to be known before anything is read; below the title."""


def write(document: Document, folder: Path) -> list[Path]:
    """report.md, figures/*.png and *.svg, and report.html, which needs no other file."""
    pictures = [part for section in document.sections for part in section.parts if isinstance(part, Picture)]
    assert len({picture.name for picture in pictures}) == len(pictures), "two pictures of one name"
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    files = [folder / "report.md", folder / "report.html"]
    for picture in pictures:
        for suffix in ("png", "svg"):
            path = folder / "figures" / f"{picture.name}.{suffix}"
            picture.figure.savefig(path, metadata={"Date": None} if suffix == "svg" else None)
            files.append(path)
    files[0].write_text(markdown(document), encoding="utf-8")
    files[1].write_text(page(document, folder / "figures"), encoding="utf-8")
    return files


def markdown(document: Document) -> str:
    """With links to the figures' files."""
    blocks = [f"# {document.title}", *map(_markdown, document.notes)]
    for section in document.sections:
        blocks += [f"## {section.heading}", *map(_markdown, section.parts)]
    return "\n\n".join(blocks) + "\n"


def _markdown(part: Text | Table | Picture) -> str:
    match part:
        case Text(words):
            return words
        case Table(columns, rows):
            lines = [columns, ["---"] * len(columns), *rows]
            return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
        case Picture(name, caption):
            return f"![{caption}](figures/{name}.png)\n\n*{caption}*"


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #23272e; max-width: 60rem; margin: 2.5rem auto; padding: 0 1.2rem }
h1 { font-size: 1.7rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
table { display: block; overflow-x: auto }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid #e7e9ed; vertical-align: top }
th { border-bottom: 2px solid #c4c9d1 } figure { margin: 1.2rem 0; overflow-x: auto }
img { max-width: 100%; min-width: 34rem } td:first-child { min-width: 8rem }
figcaption { color: #5b6370; font-size: .9rem } code { background: #f3f4f6; padding: .1rem .25rem; border-radius: 3px }
pre { background: #f3f4f6; padding: .7rem; overflow-x: auto } pre code { background: none; padding: 0 }
"""


def page(document: Document, figures: Path) -> str:
    """One HTML file with the figures in it."""
    body = [f"<h1>{html.escape(document.title)}</h1>", *(_html(note, figures) for note in document.notes)]
    for section in document.sections:
        body.append(f"<h2>{html.escape(section.heading)}</h2>")
        body += [_html(part, figures) for part in section.parts]
    title = html.escape(document.title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _html(part: Text | Table | Picture, figures: Path) -> str:
    match part:
        case Text(words):
            return _paragraph(words)
        case Table(columns, rows):
            head = "".join(f"<th>{_inline(cell)}</th>" for cell in columns)
            lines = ["".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in rows]
            return f"<table><tr>{head}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
        case Picture(name, caption):
            image = base64.b64encode((figures / f"{name}.png").read_bytes()).decode()
            alternative = html.escape(caption, quote=True)
            return (
                f'<figure><img alt="{alternative}" src="data:image/png;base64,{image}">'
                f"<figcaption>{_inline(caption)}</figcaption></figure>"
            )


def _paragraph(words: str) -> str:
    if words.startswith("```"):
        code = html.escape(words.strip("`").partition("\n")[2].rstrip("\n"))
        return f"<pre><code>{code}</code></pre>"
    if words.startswith("- "):
        items = "".join(f"<li>{_inline(item)}</li>" for item in words[2:].split("\n- "))
        return f"<ul>{items}</ul>"
    return f"<p>{_inline(words)}</p>"


def _inline(words: str) -> str:
    """Code, bold and links of Markdown, intervals in one line; everything else as it is."""
    text = html.escape(words, quote=False).replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"\[([^\]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2">\1</a>', text)
