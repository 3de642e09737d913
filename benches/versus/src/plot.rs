//! CPU time of each writer, as a picture.

use std::fmt::Write as _;

use crate::contestants::{self as who, WRITERS};
use crate::figures::Figure;
use crate::lines::Mix;
use crate::rounds::{Results, Spread};
use crate::rows::Choice;
use crate::table::number;

const WIDTH: f64 = 760.0;
/// Where bars begin: right of the longest name.
const LEFT: f64 = 270.0;
/// Right of the longest bar there is room for its number.
const RIGHT: f64 = 90.0;
const TOP: f64 = 76.0;
const ROW: f64 = 32.0;
const BAR: f64 = 18.0;

struct Bar {
    name: &'static str,
    class: &'static str,
    spread: Spread,
}

/// `None` if nobody took part. Writing to a string does not fail.
pub fn svg(results: &Results) -> Option<String> {
    let bars: Vec<_> = WRITERS.iter().filter_map(|family| bar(results, family)).collect();
    let most = bars.iter().map(|bar| bar.spread.max).reduce(f64::max)?;
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let height = TOP + ROW * bars.len() as f64 + 18.0;
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="CPU seconds a million points of each writer">
<style>
  text {{ font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #6e7781 }}
  .title {{ font-size: 15px; font-weight: 600 }}
  .quiet {{ font-size: 12px }}
  .disk {{ fill: #0f766e }}
  .window {{ fill: #5eb5a9 }}
  .memory {{ fill: #a3acb7 }}
  .spread {{ stroke: #6e7781; stroke-width: 1.5 }}
  @media (prefers-color-scheme: light) {{
    text {{ fill: #1f2328 }}
    .quiet {{ fill: #59636e }}
    .spread {{ stroke: #1f2328 }}
  }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #e6edf3 }}
    .quiet {{ fill: #9198a1 }}
    .disk {{ fill: #2dd4bf }}
    .window {{ fill: #14857a }}
    .memory {{ fill: #6b7480 }}
    .spread {{ stroke: #e6edf3 }}
  }}
</style>
<text class="title" x="12" y="24">CPU seconds to deliver a million points, less is better</text>
"#
    );
    legend(&mut out);
    for (n, bar) in bars.iter().enumerate() {
        draw(&mut out, bar, TOP + ROW * n as f64, scale);
    }
    out.push_str("</svg>\n");
    Some(out)
}

fn bar(results: &Results, family: &'static str) -> Option<Bar> {
    let spread = results.chosen(family, Mix::Realistic, Choice::Cheapest)?.spread(Figure::CpuSeconds)?;
    let class = match family {
        who::SPOOL_GZIP | who::SPOOL_PLAIN | who::SPOOL_BORROWED => "disk",
        who::WINDOW_GZIP | who::WINDOW_PLAIN => "window",
        _ => "memory",
    };
    Some(Bar { name: family, class, spread })
}

fn legend(out: &mut String) {
    let kinds = [
        ("disk", "synced to disk before it is sent", 12.0),
        ("window", "stored if not answered within a second", 244.0),
        ("memory", "in memory only", 520.0),
    ];
    for (class, text, x) in kinds {
        let _ = writeln!(out, r#"<rect class="{class}" x="{x}" y="40" width="12" height="12" rx="2"/>"#);
        let _ = writeln!(out, r#"<text class="quiet" x="{}" y="50.5">{text}</text>"#, x + 18.0);
    }
}

/// A bar as long as the median, and a thin line from the least to the greatest.
fn draw(out: &mut String, bar: &Bar, y: f64, scale: f64) {
    let Spread { median, min, max, .. } = bar.spread;
    let (end, middle) = (LEFT + median * scale, y + BAR / 2.0);
    let _ =
        writeln!(out, r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#, LEFT - 10.0, y + 13.5, bar.name);
    let _ = writeln!(
        out,
        r#"<rect class="{}" x="{LEFT}" y="{y}" width="{:.1}" height="{BAR}" rx="2"/>"#,
        bar.class,
        end - LEFT
    );
    let (from, to) = (LEFT + min * scale, LEFT + max * scale);
    let _ =
        writeln!(out, r#"<line class="spread" x1="{from:.1}" x2="{to:.1}" y1="{middle}" y2="{middle}"/>"#);
    let _ = writeln!(out, r#"<text x="{:.1}" y="{}">{}</text>"#, end.max(to) + 8.0, y + 13.5, number(median));
}
