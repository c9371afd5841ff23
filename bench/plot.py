# SPDX-License-Identifier: ISC
"""Bar charts as SVG."""
from xml.sax.saxutils import escape

LEFT, WIDTH, BAR, GAP = 190, 760, 18, 8
OURS, THEIRS = "#1f6f8b", "#b8b8b8"
SHADES = ("#9ecae1", "#4292c6", "#08519c")


def text(x, y, words, anchor="start", size=12, weight="normal"):
    return ('<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" font-weight="%s">%s</text>\n' %
            (x, y, anchor, size, weight, escape(words)))


def picture(title, note, height, content):
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'font-family="sans-serif">\n<rect width="100%%" height="100%%" fill="white"/>\n%s%s%s'
            '</svg>\n' % (WIDTH, height + 80, text(12, 24, title, size=15, weight="bold"), content,
                          text(12, height + 66, note, size=10)))


def bar(y, height, share, colour, label):
    length = (WIDTH - LEFT - 90) * share
    return ('<rect x="%d" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>\n' %
            (LEFT, y, length, height, colour) +
            text(LEFT + length + 6, y + height - 4, label, size=11))


def figure(value):
    return "%.0f" % value if value >= 100 else "%.3g" % value


def bars(title, unit, rows, note):
    """ROWS is (name, value)."""
    top = max(value for _, value in rows) or 1
    content, y = "", 44
    for name, value in rows:
        content += text(LEFT - 8, y + BAR - 4, name, "end")
        content += bar(y, BAR, max(value, 0) / top, OURS if name.startswith("caronte") else THEIRS,
                       "%s %s" % (figure(value), unit))
        y += BAR + GAP
    return picture(title, note, y, content)


def groups(title, unit, kinds, rows, note):
    """ROWS is (name, a value for each of KINDS)."""
    top = max(max(values) for _, values in rows) or 1
    content, y = "", 44
    for name, values in rows:
        content += text(LEFT - 8, y + 2 * BAR - 4, name, "end")
        for kind, value, shade in zip(kinds, values, SHADES):
            content += bar(y, BAR - 4, value / top, shade, "%s %s %s" % (kind, figure(value), unit))
            y += BAR - 2
        y += GAP
    return picture(title, note, y, content)
