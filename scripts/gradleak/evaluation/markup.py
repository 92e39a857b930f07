"""HTML of the report: escaping, tables, figures, and the page around them, which links to no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from pathlib import Path
from typing import Any

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1120px;margin:1.5em auto;padding:0 1em;color:#1a1a1a}
h1{font-size:1.6em;margin:0}h2{margin-top:2em;border-bottom:1px solid #ddd}h3{margin-bottom:.3em}
table{border-collapse:collapse;font-size:13px;width:100%}
th,td{padding:.25em .5em;text-align:right;border-bottom:1px solid #eee;white-space:nowrap}
th{background:#f5f5f5}td.w,th.w{text-align:left;white-space:normal}tr:target{outline:2px solid #0072B2}
.ci{color:#666;font-size:11px}.bad{background:#fde8e0}.oracle{color:#a33;font-weight:600}
.above{font-weight:600}.below{color:#8a3b00}
figure{margin:1.5em 0}figure img{max-width:100%}figcaption{color:#555;font-size:13px}.wrap{overflow-x:auto}
.note{background:#f3f7fb;border-left:4px solid #0072B2;padding:.6em 1em;margin:.6em 0}
.worst{background:#fdf3ec;border-left-color:#D55E00}
.note p{margin:.2em 0}code{background:#f3f3f3;padding:0 .25em}
pre{background:#f6f6f6;padding:.6em 1em;overflow-x:auto;font-size:12.5px}
nav{font-size:13px;color:#555}nav a{margin-right:1em}a{color:#0072B2}
.small{font-size:13px;color:#555;margin:.3em 0}
@media print{body{max-width:none;margin:0;font-size:11px}
figure,tr,.note{break-inside:avoid}h2,h3,h4{break-after:avoid}.ci{display:block;white-space:nowrap}
nav{display:none}table,pre{font-size:9px}.wrap,pre{overflow:visible;white-space:pre-wrap}
td,th{white-space:normal}}
"""


def escape(text: Any) -> str:
    """Text as HTML. All that comes from files and configurations goes through it."""
    return html.escape(str(text), quote=True)


def text_cell(content: str, kind: str = "") -> str:
    """A table cell of words, aligned left. content: HTML. kind: a further CSS class."""
    return f"<td class='{f'w {kind}'.strip()}'>{content}</td>"


def number_cell(content: str) -> str:
    """A table cell of numbers, aligned right. content: HTML."""
    return f"<td>{content}</td>"


def text_heads(*names: str) -> str:
    return "".join(f"<th class='w'>{name}</th>" for name in names)


def number_heads(*names: str) -> str:
    return "".join(f"<th>{name}</th>" for name in names)


def row(cells: Iterable[str], attributes: str = "") -> str:
    """A table row. attributes: HTML, with a space in front."""
    return f"<tr{attributes}>{''.join(cells)}</tr>"


def table(head: str, rows: Iterable[str], name: str = "") -> str:
    """A table that scrolls sideways. head: HTML of the head's cells, may be empty. name: its id."""
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    identity = f" id='{name}'" if name else ""
    return f"<div class='wrap'><table{identity}>{top}<tbody>{''.join(rows)}</tbody></table></div>"


def small(content: str) -> str:
    """A paragraph in small print. content: HTML."""
    return f"<p class='small'>{content}</p>"


def note(content: str, kind: str = "") -> str:
    """A paragraph that stands out. content: HTML. kind: a further CSS class."""
    return f"<div class='{f'note {kind}'.strip()}'><p>{content}</p></div>"


def figure(path: Path, caption: str) -> str:
    """A PNG file with its caption, the picture inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f"<figure id='figure-{escape(path.stem)}'>"
        f"<img alt='{escape(caption)}' src='data:image/png;base64,{data}'>"
        f"<figcaption>{escape(caption)} <code>{escape(path)}</code></figcaption></figure>"
    )


def page(title: str, body: str) -> str:
    """A whole page. body: HTML."""
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>"
        f"<style>{STYLE}</style><body>{body}</body></html>\n"
    )
