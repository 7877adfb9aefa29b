//! Plots: for each figure of one unit a row, in it for each subject a mark at p50 and lines to p99 and to the largest.
//!
//! The colours are classes with a rule for dark pages, and there is no font in it but the reader's own: that is why this
//! is written here, as the plotting libraries put a fixed colour into each element.

use std::fmt::Write;

use crate::bench::report::Who;

/// Measures of a plot, in pixels.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 610.0;
const TOP: f64 = 34.0;
const LINE: f64 = 16.0;
const GAP: f64 = 8.0;

/// Values that differ by more than this factor are shown on a logarithmic axis.
const SPREAD: f64 = 20.0;

/// The largest part of such an axis, in decades: zero has no place on it, and is shown at its left end.
const DECADES: f64 = 6.0;

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// What it says.
    pub(super) title: String,
    /// Its subjects.
    pub(super) bars: Vec<Bar>,
}

/// A subject of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bar {
    /// Whose.
    pub(super) of: Who,
    /// The middle.
    pub(super) p50: f64,
    /// What one of a hundred exceeds.
    pub(super) p99: f64,
    /// The largest.
    pub(super) max: f64,
}

/// The plot of these figures, as SVG.
pub(super) fn plot(title: &str, unit: &str, rows: &[Row]) -> String {
    let axis = Axis::of(rows.iter().flat_map(|row| &row.bars).flat_map(|bar| [bar.p50, bar.p99, bar.max]));
    let lines: usize = rows.iter().map(|row| 1 + row.bars.len()).sum();
    let bottom = TOP + lines as f64 * LINE + rows.len() as f64 * GAP;
    let height = bottom + 40.0;
    let mut svg = Svg::default();
    svg.begin(height, title);
    svg.text(8.0, 18.0, "head", "start", title);
    svg.text(
        RIGHT + 16.0,
        18.0,
        "",
        "start",
        &format!("p50 / p99 / max, {}", if unit.is_empty() { "count" } else { unit }),
    );
    for tick in axis.ticks() {
        let x = axis.place(tick);
        svg.line((x, TOP), (x, bottom), "grid");
        svg.text(x, bottom + 16.0, "", "middle", &number(tick));
    }
    svg.text(
        RIGHT,
        bottom + 32.0,
        "",
        "end",
        &format!("{unit}{}", if axis.logarithmic { " (logarithmic)" } else { "" }),
    );
    let mut y = TOP;
    for row in rows {
        y += GAP + LINE;
        svg.text(8.0, y - 4.0, "", "start", &row.title);
        for bar in &row.bars {
            svg.bar(&axis, y + LINE / 2.0, bar);
            y += LINE;
        }
    }
    svg.end()
}

/// Where values are from left to right.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    logarithmic: bool,
    low: f64,
    high: f64,
}

impl Axis {
    /// One with room for these.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        let low = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        if high <= 0.0 {
            return Axis { logarithmic: false, low: 0.0, high: 1.0 };
        }
        if high / low <= SPREAD {
            return Axis { logarithmic: false, low: 0.0, high: high * 1.05 };
        }
        let high = 10_f64.powf((high * 1.05).log10());
        let low = low.max(high / 10_f64.powf(DECADES));
        Axis { logarithmic: true, low: 10_f64.powf(low.log10().floor()), high }
    }

    fn place(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            let step = step(self.high / 5.0);
            return (0_u32..)
                .map(|count| f64::from(count) * step)
                .take_while(|tick| *tick <= self.high)
                .collect();
        }
        let first = self.low.log10().round() as i32;
        let decades = (first..).map(|power| 10_f64.powi(power)).take_while(|tick| *tick <= self.high);
        let within: &[f64] = if self.high / self.low < 1_000.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let ticks = decades.flat_map(|decade| within.iter().map(move |part| part * decade));
        ticks.filter(|tick| *tick <= self.high).collect()
    }
}

/// The next larger one of 1, 2 and 5 in their decade.
fn step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    let found = [1.0, 2.0, 5.0].into_iter().map(|part| part * decade).find(|step| *step >= least);
    found.unwrap_or(10.0 * decade)
}

/// As many digits as mean something.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if value.fract() == 0.0 || size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ => (1 - size.log10().floor() as i32).clamp(2, 6) as usize,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// What is drawn.
#[derive(Debug, Default)]
struct Svg(String);

impl Svg {
    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a text does not fail.
        let _ = self.0.write_fmt(element);
        self.0.push('\n');
    }

    fn begin(&mut self, height: f64, title: &str) {
        self.add(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">"#
        ));
        self.add(format_args!("<title>{}</title>", escape(title)));
        self.add(format_args!("<style>"));
        self.add(format_args!(
            "text {{ font: 12px sans-serif; fill: #24292f }} .head {{ font-weight: bold }}"
        ));
        self.add(format_args!(".grid {{ stroke: #8888; stroke-width: 0.5 }} line {{ stroke-width: 2 }}"));
        for (of, light, _) in COLOURS {
            self.add(format_args!("{}", rule(of, light)));
        }
        self.add(format_args!("@media (prefers-color-scheme: dark) {{ text {{ fill: #d0d7de }}"));
        for (of, _, dark) in COLOURS {
            self.add(format_args!("{}", rule(of, dark)));
        }
        self.add(format_args!("}}\n</style>"));
    }

    fn end(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }

    fn text(&mut self, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
        let class = if class.is_empty() { String::new() } else { format!(r#" class="{class}""#) };
        let text = escape(text);
        self.add(format_args!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}"{class}>{text}</text>"#));
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        self.add(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#
        ));
    }

    /// A mark at p50, a line to p99, a thin one to the largest, at which there is a stroke across; and the numbers.
    fn bar(&mut self, axis: &Axis, y: f64, bar: &Bar) {
        let class = class(bar.of);
        let [p50, p99, max] = [bar.p50, bar.p99, bar.max].map(|value| axis.place(value));
        self.text(LEFT - 6.0, y + 4.0, "", "end", bar.of.name());
        self.line((p50, y), (p99, y), class);
        self.add(format_args!(
            r#"<line x1="{p99:.1}" y1="{y:.1}" x2="{max:.1}" y2="{y:.1}" class="{class}" style="stroke-width: 0.7"/>"#
        ));
        self.line((max, y - 4.0), (max, y + 4.0), class);
        // Of different forms, for whoever does not tell the colours apart.
        match bar.of {
            Who::Ferrolb => {
                self.add(format_args!(r#"<circle cx="{p50:.1}" cy="{y:.1}" r="4.5" class="{class}"/>"#));
            }
            Who::Floor => {
                let x = p50 - 1.5;
                let top = y - 5.0;
                self.add(format_args!(
                    r#"<rect x="{x:.1}" y="{top:.1}" width="3" height="10" class="{class}"/>"#
                ));
            }
            Who::Metallb => {
                let (x, top) = (p50 - 4.0, y - 4.0);
                self.add(format_args!(
                    r#"<rect x="{x:.1}" y="{top:.1}" width="8" height="8" class="{class}"/>"#
                ));
            }
        }
        let numbers = [bar.p50, bar.p99, bar.max].map(number).join(" / ");
        self.text(RIGHT + 16.0, y + 4.0, "", "start", &numbers);
    }
}

/// The colour of each, on light pages and on dark ones.
const COLOURS: [(Who, &str, &str); 3] = [
    (Who::Ferrolb, "#0969da", "#58a6ff"),
    (Who::Floor, "#6e7781", "#9aa4af"),
    (Who::Metallb, "#bc4c00", "#f0883e"),
];

fn class(of: Who) -> &'static str {
    match of {
        Who::Ferrolb => "ferrolb",
        Who::Floor => "floor",
        Who::Metallb => "metallb",
    }
}

fn rule(of: Who, colour: &str) -> String {
    format!(".{} {{ stroke: {colour}; fill: {colour} }}", class(of))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(of: Who, p50: f64, max: f64) -> Bar {
        Bar { of, p50, p99: max, max }
    }

    #[test]
    fn values_that_differ_much_are_on_a_logarithmic_axis() {
        let narrow = Axis::of([5.0, 40.0].into_iter());
        assert!(!narrow.logarithmic);
        assert_eq!((narrow.place(0.0), narrow.place(42.0)), (LEFT, RIGHT));
        assert_eq!(narrow.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        let wide = Axis::of([0.0, 0.3, 5_000.0].into_iter());
        assert!(wide.logarithmic);
        assert_eq!(wide.place(0.0), LEFT, "zero is at the left end");
        assert!((wide.place(0.1) - LEFT).abs() < 1e-9 && wide.place(5_000.0) < RIGHT);
        assert_eq!(wide.ticks(), [0.1, 1.0, 10.0, 100.0, 1_000.0]);
    }

    #[test]
    fn an_axis_of_nothing_but_zeros_stands() {
        let axis = Axis::of([0.0, 0.0].into_iter());
        assert_eq!((axis.place(0.0), axis.ticks().len() > 1), (LEFT, true));
        assert!(plot("none", "", &[]).contains("</svg>"));
    }

    #[test]
    fn a_plot_has_all_subjects_and_escapes_titles() {
        let bars =
            vec![bar(Who::Ferrolb, 3.0, 9.0), bar(Who::Floor, 2.5, 4.0), bar(Who::Metallb, 31.0, 101.0)];
        let rows = [Row { title: "a < b & c".into(), bars }, Row { title: "d".into(), bars: vec![] }];
        let svg = plot("Addresses", "ms", &rows);
        assert!(svg.contains("a &lt; b &amp; c") && !svg.contains("a < b"), "{svg}");
        for of in ["FerroLB", "floor", "MetalLB", "31 / 101 / 101", "prefers-color-scheme: dark"] {
            assert!(svg.contains(of), "{of}: {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let opened = svg.matches("<text").count();
        assert_eq!(opened, svg.matches("</text>").count());
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let texts = [0.0, 1_234.5, 12.34, 1.0, 1.234, 0.1234, 0.001_234].map(number);
        assert_eq!(texts, ["0", "1234", "12.3", "1", "1.23", "0.12", "0.0012"]);
    }
}
