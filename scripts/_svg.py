"""What the pictures of the documentation are made of: SVG as text; same values, same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

GREY, BLUE, RED, GREEN, BLACK, PINK = "#dddddd", "#0072b2", "#d55e00", "#009e73", "#000000", "#cc79a7"
"""Colours that people tell apart who see few (Okabe and Ito 2008)."""


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """Return a whole picture on white, ``width`` by ``height`` pixels."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#222222">'
    )
    ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", ground, *parts, "</svg>\n"])


def text(x: float, y: float, said: str, *, anchor: str = "start", size: int = 12) -> str:
    """Return a line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(said)}</text>'


def rule(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    """Return a thin line."""
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def stroke(colour: str, dash: str = "") -> str:
    """Return the attributes of a stroke; ``dash`` for those who see no colours."""
    return f'stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dash}"' if dash else "")


def ring(x: float, y: float, colour: str, said: str = "") -> str:
    """Return an open mark; ``said`` appears where one points at it."""
    style = f'fill="#ffffff" fill-opacity="0.6" {stroke(colour)}'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {style}>{_title(said)}</circle>'


def dot(x: float, y: float, colour: str, said: str = "") -> str:
    """Return a filled round mark."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}">{_title(said)}</circle>'


def diamond(x: float, y: float, colour: str, said: str = "") -> str:
    """Return a filled mark that stands on its corner."""
    corners = f"{x:.1f},{y - 4:.1f} {x + 4:.1f},{y:.1f} {x:.1f},{y + 4:.1f} {x - 4:.1f},{y:.1f}"
    return f'<polygon points="{corners}" fill="{colour}">{_title(said)}</polygon>'


def _title(said: str) -> str:
    return f"<title>{escape(said)}</title>" if said else ""
