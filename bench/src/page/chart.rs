//! Charts as inline SVG: axes with units, lines with points, bars.
//!
//! Owns scales, ticks and marks; colours are classes of the page's style. Every point carries its
//! numbers as a title, which browsers show under the pointer. Never: decides what is drawn, or
//! draws what is not a number.

use std::fmt::Write as _;

use super::text::{escape, figure};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 52.0;
/// Ticks of a linear axis at most.
const TICKS_MAX: f64 = 6.0;
/// Points of a line that get marks of their own; longer ones are smooth.
const MARKS_MAX: usize = 24;

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Evenly, from zero.
    Linear,
    /// By their logarithm.
    Log,
    /// Percent, by the logarithm of their distance to 100: each nine takes the same room.
    Nines,
}

/// An axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis<'a> {
    /// What it is, with its unit.
    pub(super) label: &'a str,
    pub(super) scale: Scale,
}

/// A line.
#[derive(Clone, Debug)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// Number of its colour in the style.
    pub(super) colour: usize,
    /// Drawn as something to compare with.
    pub(super) is_dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// Numbers to places on one axis.
#[derive(Clone, Debug)]
struct Placed {
    scale: Scale,
    min: f64,
    max: f64,
    from: f64,
    to: f64,
}

impl Placed {
    /// An axis that holds all values; none when there is none that it can hold.
    fn over(
        scale: Scale,
        values: impl Iterator<Item = f64>,
        (from, to): (f64, f64),
    ) -> Option<Self> {
        let values: Vec<f64> = values.filter(|value| holds(scale, *value)).collect();
        let largest = values.iter().copied().max_by(f64::total_cmp)?;
        let least = values.iter().copied().min_by(f64::total_cmp)?;
        let (min, max) = match scale {
            Scale::Linear => (0.0, if largest > 0.0 { largest * 1.08 } else { 1.0 }),
            Scale::Log => {
                let (low, high) = (least.log10() - 0.05, largest.log10() + 0.05);
                // At least a decade, so that a flat line does not look like a mountain.
                let missing = (1.0 - (high - low)).max(0.0) / 2.0;
                (low - missing, high + missing)
            }
            Scale::Nines => (0.0, nines(largest).max(1.0)),
        };
        Some(Self {
            scale,
            min,
            max,
            from,
            to,
        })
    }

    fn at(&self, value: f64) -> f64 {
        let along = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.log10(),
            Scale::Nines => nines(value),
        };
        let share = ((along - self.min) / (self.max - self.min)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => linear_ticks(self.max),
            Scale::Log => log_ticks(self.min, self.max),
            Scale::Nines => [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999]
                .into_iter()
                .filter(|percent| nines(*percent) <= self.max + 1e-9)
                .collect(),
        }
    }
}

fn holds(scale: Scale, value: f64) -> bool {
    value.is_finite()
        && match scale {
            Scale::Linear => value >= 0.0,
            Scale::Log => value > 0.0,
            Scale::Nines => (0.0..100.0).contains(&value),
        }
}

fn nines(percent: f64) -> f64 {
    -(1.0 - percent / 100.0).log10()
}

fn linear_ticks(max: f64) -> Vec<f64> {
    let raw = max / TICKS_MAX;
    let decade = 10_f64.powf(raw.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
    let step = steps.into_iter().find(|step| *step >= raw).unwrap_or(max);
    let mut ticks = Vec::new();
    let mut tick = 0.0;
    while tick <= max && ticks.len() < 16 {
        ticks.push(tick);
        tick += step;
    }
    ticks
}

fn log_ticks(min: f64, max: f64) -> Vec<f64> {
    let factors: &[f64] = if max - min > 2.5 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let mut ticks = Vec::new();
    let mut decade = min.floor();
    while decade <= max && ticks.len() < 32 {
        for factor in factors {
            let along = decade + factor.log10();
            if along >= min && along <= max {
                ticks.push(factor * 10_f64.powf(decade));
            }
        }
        decade += 1.0;
    }
    ticks
}

/// Lines over two axes; none when nothing can be drawn.
pub(super) fn lines(title: &str, x: Axis<'_>, y: Axis<'_>, lines: &[Line<'_>]) -> Option<String> {
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let across = Placed::over(x.scale, all().map(|(x, _)| x), (LEFT, WIDTH - RIGHT))?;
    let up = Placed::over(y.scale, all().map(|(_, y)| y), (HEIGHT - BOTTOM, TOP))?;
    let mut svg = open(title);
    axes(&mut svg, (x, &across), (y, &up));
    for line in lines {
        draw(&mut svg, line, (&across, x.label), (&up, y.label));
    }
    svg.push_str("</svg>");
    Some(
        legend(
            lines
                .iter()
                .map(|line| (line.name, line.colour, line.is_dashed)),
        ) + &svg,
    )
}

fn open(title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    )
}

fn axes(svg: &mut String, (x, across): (Axis<'_>, &Placed), (y, up): (Axis<'_>, &Placed)) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in up.ticks() {
        let at = up.at(tick);
        push(
            svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
            ),
        );
        let (text, place) = (figure(tick), at + 4.0);
        push(
            svg,
            format_args!(
                "<text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{place:.1}\">{text}</text>",
                LEFT - 8.0
            ),
        );
    }
    for tick in across.ticks() {
        let at = across.at(tick);
        push(
            svg,
            format_args!(
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
            ),
        );
        let (text, place) = (figure(tick), bottom + 18.0);
        push(
            svg,
            format_args!(
                "<text class=\"tick\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{place:.1}\">{text}</text>"
            ),
        );
    }
    push(
        svg,
        format_args!("<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"),
    );
    let (middle, below) = (f64::midpoint(LEFT, right), HEIGHT - 10.0);
    push(
        svg,
        format_args!(
            "<text class=\"label\" text-anchor=\"middle\" x=\"{middle:.1}\" y=\"{below:.1}\">{}</text>",
            escape(x.label)
        ),
    );
    let centre = f64::midpoint(TOP, bottom);
    push(
        svg,
        format_args!(
            "<text class=\"label\" text-anchor=\"middle\" transform=\"translate(16 {centre:.1}) rotate(-90)\">{}</text>",
            escape(y.label)
        ),
    );
}

fn draw(svg: &mut String, line: &Line<'_>, (across, x): (&Placed, &str), (up, y): (&Placed, &str)) {
    let is_drawn = |point: &&(f64, f64)| holds(across.scale, point.0) && holds(up.scale, point.1);
    let points: Vec<&(f64, f64)> = line.points.iter().filter(is_drawn).collect();
    let mut path = String::new();
    for (number, point) in points.iter().enumerate() {
        let letter = if number == 0 { 'M' } else { 'L' };
        let (at, height) = (across.at(point.0), up.at(point.1));
        push(&mut path, format_args!("{letter}{at:.1} {height:.1}"));
    }
    let dash = if line.is_dashed { " dashed" } else { "" };
    push(
        svg,
        format_args!("<path class=\"line c{}{dash}\" d=\"{path}\"/>", line.colour),
    );
    let radius = if points.len() <= MARKS_MAX { 3.5 } else { 2.0 };
    for (at, height) in points {
        push(
            svg,
            format_args!(
                "<circle class=\"mark c{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}: {} {}, {} {}</title></circle>",
                line.colour,
                across.at(*at),
                up.at(*height),
                escape(line.name),
                figure(*at),
                escape(x),
                figure(*height),
                escape(y)
            ),
        );
    }
}

/// One bar made of parts, with its name and its sum.
#[derive(Clone, Debug)]
pub(super) struct Bar<'a> {
    pub(super) name: &'a str,
    /// Name, number of the colour, value.
    pub(super) parts: Vec<(&'a str, usize, f64)>,
}

/// Bars from left to right on one scale from zero; none when they hold nothing.
pub(super) fn bars(title: &str, label: &str, bars: &[Bar<'_>]) -> Option<String> {
    const ROW: f64 = 46.0;
    let sum = |bar: &Bar<'_>| bar.parts.iter().map(|part| part.2).sum::<f64>();
    let across = Placed::over(Scale::Linear, bars.iter().map(sum), (LEFT, WIDTH - RIGHT))?;
    let rows = bars.iter().fold(0.0, |rows, _| rows + ROW);
    let (bottom, height) = (rows + 8.0, rows + 54.0);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    );
    for tick in across.ticks() {
        let (at, place) = (across.at(tick), bottom + 18.0);
        push(
            &mut svg,
            format_args!(
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{bottom}\"/><text \
                 class=\"tick\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{place:.1}\">{}</text>",
                figure(tick)
            ),
        );
    }
    let mut top = 8.0;
    for bar in bars {
        let middle = top + ROW / 2.0;
        push(
            &mut svg,
            format_args!(
                "<text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{middle:.1}\">{}</text>",
                LEFT - 8.0,
                escape(bar.name)
            ),
        );
        let mut begin = 0.0;
        for (name, colour, value) in &bar.parts {
            let (from, to) = (across.at(begin), across.at(begin + value));
            push(
                &mut svg,
                format_args!(
                    "<rect class=\"bar c{colour}\" x=\"{from:.2}\" y=\"{top:.1}\" width=\"{:.2}\" \
                     height=\"{:.1}\"><title>{}, {}: {} {}</title></rect>",
                    (to - from).max(0.0),
                    ROW - 12.0,
                    escape(bar.name),
                    escape(name),
                    figure(*value),
                    escape(label)
                ),
            );
            begin += value;
        }
        top += ROW;
    }
    let (middle, below) = (f64::midpoint(LEFT, WIDTH - RIGHT), height - 8.0);
    push(
        &mut svg,
        format_args!(
            "<text class=\"label\" text-anchor=\"middle\" x=\"{middle:.1}\" y=\"{below:.1}\">{}</text></svg>",
            escape(label)
        ),
    );
    let first = bars.iter().max_by_key(|bar| bar.parts.len())?;
    let names = first.parts.iter().map(|part| (part.0, part.1, false));
    Some(legend(names) + &svg)
}

fn legend<'a>(names: impl Iterator<Item = (&'a str, usize, bool)>) -> String {
    let mut html = String::from("<p class=\"legend\">");
    for (name, colour, is_dashed) in names {
        let dash = if is_dashed { " dashed" } else { "" };
        push(
            &mut html,
            format_args!(
                "<span><i class=\"c{colour}{dash}\"></i>{}</span>",
                escape(name)
            ),
        );
    }
    html.push_str("</p>");
    html
}

/// Writing into memory does not fail.
fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: Axis<'_> = Axis {
        label: "time <us>",
        scale: Scale::Log,
    };

    fn line(points: &[(f64, f64)]) -> Line<'static> {
        Line {
            name: "a & b",
            colour: 1,
            is_dashed: true,
            points: points.to_vec(),
        }
    }

    #[test]
    fn nothing_to_draw_is_no_chart() {
        assert_eq!(lines("t", AXIS, AXIS, &[]), None);
        let bad = line(&[(0.0, 1.0), (f64::NAN, 2.0), (1.0, f64::INFINITY)]);
        assert_eq!(lines("t", AXIS, AXIS, &[line(&[(f64::NAN, 0.0)])]), None);
        let chart = lines("t", AXIS, AXIS, &[bad, line(&[(1.0, 2.0)])]).unwrap();
        assert!(!chart.contains("NaN") && !chart.contains("inf"));
        assert_eq!(bars("t", "us", &[]), None);
    }

    #[test]
    fn names_and_units_are_escaped_and_every_point_has_its_numbers() {
        let chart = lines("t", AXIS, AXIS, &[line(&[(10.0, 20.0), (1000.0, 40.0)])]).unwrap();
        assert!(chart.contains("time &lt;us&gt;") && chart.contains("a &amp; b"));
        assert_eq!(chart.matches("<circle").count(), 2);
        assert!(chart.contains("1,000 time"));
    }

    #[test]
    fn ticks_lie_within_their_axis() {
        assert_eq!(linear_ticks(10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(log_ticks(0.9, 2.1), [10.0, 20.0, 50.0, 100.0]);
        assert_eq!(log_ticks(0.0, 3.0), [1.0, 10.0, 100.0, 1000.0]);
        let nines = Placed::over(Scale::Nines, [0.0, 99.95].into_iter(), (0.0, 1.0)).unwrap();
        assert_eq!(nines.ticks(), [0.0, 50.0, 90.0, 99.0, 99.9]);
    }
}
