"""The picture of a table: a group of bars a column, a bar a row, whiskers for the deviation between seeds."""
from xml.sax.saxutils import escape

COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#222222"]
LEFT, TOP, HIGH, BAR, GAP = 46, 64, 240, 18, 26


def bars(t, mean, deviation):
    """SVG of a common.Table; values are in percent."""
    names = list(t.rows)
    group = BAR * len(names) + GAP
    wide = LEFT + group * len(t.columns) + 10
    legend = -(-len(names) // 4)
    high = TOP + HIGH + 34 + 18 * legend
    wide = max(wide, 560)

    def y(value):
        return TOP + HIGH * (1 - max(0.0, min(100.0, value)) / 100)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{wide}" height="{high}" fill="white"/>',
           f'<text x="{LEFT}" y="24" font-size="15">{escape(t.title)}</text>',
           f'<text x="{LEFT}" y="44" fill="#555">{escape(t.unit)}; whiskers: one deviation between seeds</text>']
    for value in range(0, 101, 20):
        out.append(f'<line x1="{LEFT}" x2="{wide - 10}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value}</text>')
    for c, column in enumerate(t.columns):
        x0 = LEFT + GAP / 2 + c * group
        out.append(f'<text x="{x0 + BAR * len(names) / 2:.1f}" y="{TOP + HIGH + 18}" text-anchor="middle">'
                   f'{escape(column)}</text>')
        for i, name in enumerate(names):
            v = t.rows[name]["values"][column]
            out += bar(x0 + BAR * i, mean(v), deviation(v), y, COLOURS[i % len(COLOURS)])
    for i, name in enumerate(names):
        x, at = LEFT + (i % 4) * (wide - LEFT) / 4, TOP + HIGH + 40 + 18 * (i // 4)
        out.append(f'<rect x="{x:.1f}" y="{at - 10}" width="10" height="10" fill="{COLOURS[i % len(COLOURS)]}"/>'
                   f'<text x="{x + 15:.1f}" y="{at}">{escape(name)}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def bar(x, value, s, y, colour):
    top, middle = y(value), x + BAR / 2
    out = [f'<rect x="{x + 1:.1f}" y="{top:.1f}" width="{BAR - 2}" height="{y(0) - top:.1f}" fill="{colour}"/>']
    if s:
        low, high = y(value - s), y(value + s)
        out.append(f'<path d="M{middle - 4:.1f} {high:.1f}h8m-4 0V{low:.1f}m-4 0h8" stroke="black" fill="none"/>')
    return out
