//! One chart as SVG: lines over one axis, ticks, and a caption.

use super::text::{escaped, trimmed};
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
/// Colours of lines in the style sheet.
const COLOURS: usize = 5;

/// A line of a chart.
pub(super) struct Series {
    pub name: String,
    /// Each `(x, y)`.
    pub points: Vec<(f64, f64)>,
}

/// A chart: lines over one axis.
pub(super) struct Chart {
    pub title: &'static str,
    /// The quantity on the horizontal axis.
    pub x: &'static str,
    pub series: Vec<Series>,
    pub show_x: fn(f64) -> String,
    pub show_y: fn(f64) -> String,
    /// The smallest distance between ticks of the horizontal axis.
    pub step_min: f64,
    /// Whether the vertical axis is in powers of ten.
    pub is_logarithmic: bool,
}

/// Where the points of a chart are in its picture.
struct Scale {
    x_max: f64,
    /// The ends of the vertical axis: exponents of ten, if it is logarithmic.
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    is_logarithmic: bool,
}

impl Scale {
    fn new(chart: &Chart) -> Scale {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let x_max = points().map(|point| point.0).fold(0.0, f64::max).max(1e-9);
        let most = points().map(|point| point.1).fold(0.0, f64::max);
        let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let is_logarithmic = chart.is_logarithmic;
        let (low, high, ticks) = if is_logarithmic {
            let low = least.max(0.1).log10().floor();
            let high = most.max(0.1).log10().ceil().max(low + 1.0);
            let ticks = (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect();
            (low, high, ticks)
        } else {
            let step = nice((most / 4.0).max(0.1));
            let count = (most / step).ceil().max(1.0);
            let ticks = (0..=count as i32).map(|tick| f64::from(tick) * step).collect();
            (0.0, count * step, ticks)
        };
        Scale { x_max, low, high, ticks, is_logarithmic }
    }

    fn along(&self, x: f64) -> f64 {
        LEFT + x / self.x_max * (WIDTH - LEFT - RIGHT)
    }

    fn up(&self, y: f64) -> f64 {
        let y = if self.is_logarithmic { y.max(0.1).log10() } else { y };
        HEIGHT - BOTTOM - (y - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Chart {
    /// Appends the chart to the page.
    pub(super) fn draw(&self, page: &mut String) {
        let scale = Scale::new(self);
        let _ = write!(
            page,
            "<h2>{}</h2><figure><div class=\"wide\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"{} over {}\">",
            self.title, self.title, self.x
        );
        self.axes(page, &scale);
        let colours = || (0..COLOURS).cycle();
        for (colour, series) in colours().zip(&self.series) {
            self.line(page, &scale, colour, series);
        }
        let _ = write!(
            page,
            "<line class=\"pointer\" y1=\"{TOP}\" y2=\"{}\"/></svg></div><figcaption>",
            HEIGHT - BOTTOM
        );
        for (colour, series) in colours().zip(&self.series) {
            if !series.points.is_empty() {
                let _ = write!(
                    page,
                    "<span class=\"s{colour}\" data-name=\"{}\">{0}</span>",
                    series.name
                );
            }
        }
        page.push_str("<output></output></figcaption></figure>");
    }

    fn axes(&self, page: &mut String, scale: &Scale) {
        for tick in &scale.ticks {
            let y = scale.up(*tick);
            let _ = write!(
                page,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" class=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                trimmed(&(self.show_y)(*tick))
            );
        }
        let step = nice((scale.x_max / 8.0).max(self.step_min));
        // The last second may end a little before a round number.
        for tick in 0..=(scale.x_max / step + 0.01) as u32 {
            let at = f64::from(tick) * step;
            let _ = write!(
                page,
                "<text x=\"{:.1}\" y=\"{}\" class=\"middle\">{}</text>",
                scale.along(at),
                HEIGHT - 10.0,
                (self.show_x)(at)
            );
        }
    }

    /// A line, and the readout for each of its points.
    fn line(&self, page: &mut String, scale: &Scale, colour: usize, series: &Series) {
        let mut path = String::new();
        let mut readout = String::new();
        for (index, (x, y)) in series.points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let along = scale.along(*x);
            let _ = write!(path, "{command}{along:.1} {:.1}", scale.up(*y));
            let _ = write!(readout, "{along:.1}|{}|{};", (self.show_x)(*x), (self.show_y)(*y));
        }
        let _ = write!(
            page,
            "<path class=\"s{colour}\" d=\"{path}\" data-name=\"{}\" data-points=\"{}\"/>",
            series.name,
            escaped(&readout)
        );
        // A line of one point is invisible.
        if let [(x, y)] = series.points[..] {
            let _ = write!(
                page,
                "<circle class=\"s{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                scale.along(x),
                scale.up(y)
            );
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|it| it * power >= least * 0.999);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            [0.0, 0.3, 1.0, 1.1, 4.0, 7.0, 1234.0].map(nice),
            [1.0, 0.5, 1.0, 2.0, 5.0, 10.0, 2000.0]
        );
    }
}
