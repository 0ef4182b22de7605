"""What a person sees of a chart: where Chromium puts its text."""

from __future__ import annotations

from playwright.sync_api import Page

# For each drawing: which of its texts lie over each other, or over its edge, and how large they are shown.
_LOOK = """() => [...document.querySelectorAll('svg[role=img]')].flatMap((svg) => {
  const texts = [...svg.querySelectorAll('text')], boxes = texts.map((text) => text.getBoundingClientRect());
  const frame = svg.getBoundingClientRect(), found = [];
  const name = (n) => `${svg.getAttribute('aria-labelledby')}: "${texts[n].textContent}"`;
  boxes.forEach((a, n) => {
    if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
      found.push(`${name(n)} over the edge`);
    const size = parseFloat(getComputedStyle(texts[n]).fontSize) * frame.width / svg.viewBox.baseVal.width;
    if (size < 10.5 || size > 16) found.push(`${name(n)} is ${size.toFixed(1)} px`);
    boxes.slice(n + 1).forEach((b, m) => {
      if (a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top < b.bottom - 2 && b.top < a.bottom - 2)
        found.push(`${name(n)} over "${texts[n + 1 + m].textContent}"`);
    });
  });
  return found;
})"""


def unreadable(page: Page) -> list[str]:
    """Return what nobody could read in the charts of a page: text over text, text cut off, text too small or too large."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    found: list[str] = page.evaluate(_LOOK)
    return found
