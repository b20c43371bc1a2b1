//! One self-contained page: charts as SVG, the figures, the effective profile.
//! Nothing is loaded from anywhere, and without scripts only the readout under the
//! pointer is missing.

use super::summary::heading;
use super::{Judgement, NAMES, Recorded, Report, Second, amount};
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
/// Colours of lines, which the style sheet has.
const COLOURS: usize = 5;

/// A line of a chart.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// A chart: lines over one axis.
struct Chart {
    title: &'static str,
    x: &'static str,
    series: Vec<Series>,
    show_x: fn(f64) -> String,
    show_y: fn(f64) -> String,
    /// The least distance between ticks along it.
    step_min: f64,
    /// The vertical axis in powers of ten.
    is_logarithmic: bool,
}

/// Where the points of a chart are in its picture.
struct Scale {
    x_max: f64,
    /// The ends of the vertical axis: powers of ten, if it is logarithmic.
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    is_logarithmic: bool,
}

/// The page.
pub fn html(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
    let name = escaped(&report.name);
    let started = std::time::UNIX_EPOCH + std::time::Duration::from_secs_f64(report.started);
    let started = humantime::format_rfc3339_seconds(started);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name} · tapecast-loadgen</title><style>{STYLE}</style></head><body><main>\
         <h1>{name}</h1><p>Measured from {started} on.</p>"
    );
    let is_several = report.groups.len() > 1;
    for group in &report.groups {
        let _ = write!(page, "<p>{}.</p>", escaped(&heading(report, group, is_several)));
    }
    let Judgement { verdict, reasons } = &report.judgement;
    let _ = write!(page, "<p class=\"verdict {verdict}\">Verdict: <b>{verdict}</b>");
    for reason in reasons {
        let _ = write!(page, "<br>{}", escaped(reason));
    }
    page.push_str("</p>");
    for warning in report.warnings() {
        let _ = write!(page, "<p class=\"warning\">{}</p>", escaped(&warning));
    }
    tiles(&mut page, report);
    faults(&mut page, report);
    for chart in charts(report) {
        if chart.series.iter().any(|series| !series.points.is_empty()) {
            chart.draw(&mut page);
        }
    }
    values(&mut page, report);
    let _ = writeln!(
        page,
        "<details><summary>Profile</summary><pre>{}</pre></details></main>\
         <script>{SCRIPT}</script></body></html>",
        escaped(&report.profile)
    );
    page
}

/// What one wants to know first.
fn tiles(page: &mut String, report: &Report) {
    type Tile = (&'static str, &'static str, fn(f64) -> String);
    let tiles: [Tile; 9] = [
        ("throughput", "throughput", |it| format!("{} /s", amount(it))),
        ("p50", "latency_p50", time),
        ("p99", "latency_p99", time),
        ("p99.9", "latency_p99_9", time),
        ("server CPU per message", "server_cpu_per_message", time),
        ("handshakes", "handshakes", |it| format!("{} /s", amount(it))),
        ("memory per connection", "server_resident_per_connection", |it| format!("{it:.0} B")),
        ("gaps", "gaps", amount),
        ("errors", "errors", amount),
    ];
    page.push_str("<div class=\"tiles\">");
    for (title, name, show) in tiles {
        if let Some(number) = report.values.get(name) {
            let is_bad = matches!(name, "errors" | "gaps") && *number > 0.0;
            let class = if is_bad { " class=\"bad\"" } else { "" };
            let _ = write!(page, "<div{class}><b>{}</b><span>{title}</span></div>", show(*number));
        }
    }
    page.push_str("</div>");
}

/// A row for every value; of several groups, each has a column.
fn values(page: &mut String, report: &Report) {
    let values = report.values();
    let mut columns = vec![String::new()];
    page.push_str("<h2>Values</h2><div class=\"wide\"><table>");
    if report.groups.len() > 1 {
        page.push_str("<tr><th></th><th>all</th>");
        for group in &report.groups {
            let _ = write!(page, "<th>{}</th>", escaped(&group.name));
            columns.push(format!("{}.", group.name));
        }
        page.push_str("</tr>");
    }
    for (name, _) in NAMES {
        let of = |column: &String| {
            let full = format!("{column}{name}");
            values.iter().find(|value| value.name == full)
        };
        if columns.iter().all(|column| of(column).is_none()) {
            continue;
        }
        let _ = write!(page, "<tr><td>{name}</td>");
        for column in &columns {
            let text = of(column).map_or(String::new(), |value| match value.unit {
                "us" => time(value.number),
                unit if unit.starts_with('%') => format!("{} %", amount(value.number)),
                // Their names say so.
                "messages" | "connections" => amount(value.number),
                unit => format!("{} {unit}", amount(value.number)),
            });
            let _ = write!(page, "<td class=\"number\">{text}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

fn charts(report: &Report) -> Vec<Chart> {
    let rows = &report.rows;
    let over_time = |name: &str, of: &dyn Fn(&Second) -> Option<f64>| Series {
        name: name.to_owned(),
        points: rows.iter().filter_map(|row| Some((row.at, of(row)?))).collect(),
    };
    let a_second = |count: u64, row: &Second| Some(count as f64 / row.lasting.max(1e-9));
    let seconds: fn(f64) -> String = |at| trimmed(&format!("{at:.1} s"));
    let percentile = |percentile: f64| move |row: &Second| row.latency.us(percentile);
    vec![
        Chart {
            title: "Messages a second",
            x: "time",
            series: vec![
                over_time("received", &|row| a_second(row.sums.messages, row)),
                over_time("sent", &|row| a_second(row.sums.sent, row)),
            ],
            show_x: seconds,
            show_y: amount,
            step_min: 0.1,
            is_logarithmic: false,
        },
        Chart {
            title: "Errors a second",
            x: "time",
            series: match rows.iter().any(|row| row.sums.faults > 0) {
                true => vec![over_time("errors", &|row| a_second(row.sums.faults, row))],
                false => Vec::new(),
            },
            show_x: seconds,
            show_y: amount,
            step_min: 0.1,
            is_logarithmic: false,
        },
        Chart {
            title: "Latency over time",
            x: "time",
            series: vec![
                over_time("p50", &percentile(50.0)),
                over_time("p90", &percentile(90.0)),
                over_time("p99", &percentile(99.0)),
                over_time("p99.9", &percentile(99.9)),
                over_time("max", &|row| row.latency.max_us()),
            ],
            show_x: seconds,
            show_y: time,
            step_min: 0.1,
            is_logarithmic: true,
        },
        Chart {
            title: "Latency by percentile",
            x: "percentile",
            // Of several groups, which do different things, a line each.
            series: match &report.groups[..] {
                [group] => vec![
                    by_percentile("from the planned time", &group.figures.latency),
                    by_percentile("uncorrected", &group.figures.uncorrected),
                ],
                groups => groups
                    .iter()
                    .map(|group| by_percentile(&escaped(&group.name), &group.figures.latency))
                    .collect(),
            },
            show_x: |nines| {
                let digits = nines.ceil() as usize;
                trimmed(&format!("{:.digits$} %", 100.0 - 100.0 / 10f64.powf(nines)))
            },
            show_y: time,
            step_min: 1.0,
            is_logarithmic: true,
        },
        Chart {
            title: "CPU, % of a core",
            x: "time",
            series: vec![
                over_time("server", &|row| row.server_busy.map(|busy| busy * 100.0)),
                over_time("busiest thread of the generator", &|row| {
                    row.busy.iter().copied().reduce(f64::max).map(|busy| busy * 100.0)
                }),
            ],
            show_x: seconds,
            show_y: |percent| trimmed(&format!("{percent:.1} %")),
            step_min: 0.1,
            is_logarithmic: false,
        },
        Chart {
            title: "Resident memory of the server",
            x: "time",
            series: vec![over_time("resident", &|row| {
                Some(row.server?.resident_bytes as f64 / 1e6)
            })],
            show_x: seconds,
            show_y: |megabytes| trimmed(&format!("{megabytes:.1} MB")),
            step_min: 0.1,
            is_logarithmic: false,
        },
    ]
}

/// Over the nines: 1 is 90 %, 2 is 99 %.
fn by_percentile(name: &str, recorded: &Recorded) -> Series {
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-7).log10();
    let points = recorded
        .0
        .iter_quantiles(5)
        .take_while(|step| step.quantile_iterated_to() < 1.0)
        .map(|step| (nines(step.quantile_iterated_to()), step.value_iterated_to() as f64 / 1e3))
        .collect();
    Series { name: name.to_owned(), points }
}

fn faults(page: &mut String, report: &Report) {
    let faults = report.faults();
    if faults.is_empty() {
        return;
    }
    page.push_str("<h2>Errors</h2><table>");
    for fault in faults {
        let _ = write!(
            page,
            "<tr><td>{}<br><small>first: {}</small></td><td class=\"number\">{}</td></tr>",
            escaped(&fault.kind),
            escaped(&fault.example),
            amount(fault.count as f64)
        );
    }
    page.push_str("</table>");
}

impl Scale {
    fn new(chart: &Chart) -> Scale {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let x_max = points().map(|point| point.0).fold(0.0, f64::max).max(1e-9);
        let most = points().map(|point| point.1).fold(0.0, f64::max);
        let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let is_logarithmic = chart.is_logarithmic;
        let (low, high, ticks) = match is_logarithmic {
            true => {
                let low = least.max(0.1).log10().floor();
                let high = most.max(0.1).log10().ceil().max(low + 1.0);
                let ticks = (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect();
                (low, high, ticks)
            }
            false => {
                let step = nice((most / 4.0).max(0.1));
                let count = (most / step).ceil().max(1.0);
                let ticks = (0..=count as i32).map(|tick| f64::from(tick) * step).collect();
                (0.0, count * step, ticks)
            }
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
    fn draw(&self, page: &mut String) {
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
        // The end may be a little short of a round number.
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

    /// A line, and what the readout says at each of its points.
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
        // A single second would not be seen.
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

/// A time in microseconds, as the page can write it.
fn time(us: f64) -> String {
    super::time(us).replace("us", "µs")
}

/// Without zeros at the end of a fraction: 10 ms instead of 10.0 ms.
fn trimmed(text: &str) -> String {
    let (number, unit) = text.split_at(text.find(' ').unwrap_or(text.len()));
    match number.contains('.') {
        true => format!("{}{unit}", number.trim_end_matches('0').trim_end_matches('.')),
        false => text.to_owned(),
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

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5d6774;--paper:#fff;--line:#e3e7ec;\
--c0:#1769d2;--c1:#d9730d;--c2:#c4314b;--c3:#7b45c4;--c4:#8a8f98}\
@media(prefers-color-scheme:dark){:root{--ink:#e3e8ef;--dim:#96a0ad;--paper:#12161c;\
--line:#2a323d;--c0:#5aa2ff;--c1:#f0a04b;--c2:#ff6b81;--c3:#b78cff;--c4:#9aa3ae}}\
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\
main{max-width:900px;margin:0 auto;padding:24px 16px}h1{margin:0}\
h2,details{margin:28px 0 6px}h2,summary{font-size:17px;font-weight:bold}summary{cursor:pointer}\
p{margin:4px 0;color:var(--dim)}.verdict{color:var(--ink);border-left:4px solid var(--c0);padding-left:10px;margin:14px 0}\
.failed,.suspicious{border-color:var(--c2)}.warning{color:var(--c1)}.warning::before{content:'⚠ '}\
.tiles{display:flex;flex-wrap:wrap;gap:10px;margin:18px 0}\
.tiles div{border:1px solid var(--line);border-radius:8px;padding:8px 14px}\
.tiles b{display:block;font-size:19px}.tiles span,small{color:var(--dim);font-size:13px}\
.bad b{color:var(--c2)}figure{margin:0}\
.wide{overflow-x:auto}svg{width:100%;min-width:640px;height:auto;display:block}\
svg text{fill:var(--dim);font-size:12px}.end{text-anchor:end}.middle{text-anchor:middle}\
.grid{stroke:var(--line)}.pointer{stroke:var(--dim);visibility:hidden}\
path{fill:none;stroke-width:1.8;stroke-linejoin:round}\
path[data-name=sent],path[data-name=uncorrected]{stroke-dasharray:6 5}\
.s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3)}.s4{--c:var(--c4)}\
[data-name=errors]{--c:var(--c2)}path{stroke:var(--c)}circle{fill:var(--c)}\
figcaption{font-size:13px;color:var(--dim);min-height:3em}figcaption span{margin-right:14px}\
figcaption span::before{content:'';display:inline-block;width:14px;height:3px;margin-right:5px;\
vertical-align:middle;background:var(--c)}output{display:block;color:var(--ink)}\
table{border-collapse:collapse;width:100%;font-size:14px}\
td,th{border-bottom:1px solid var(--line);padding:3px 0 3px 12px;vertical-align:top}\
td:first-child{padding-left:0;overflow-wrap:anywhere}th,.number{text-align:right}\
.wide td,.number{white-space:nowrap;font-variant-numeric:tabular-nums}\
pre{overflow-x:auto;border:1px solid var(--line);border-radius:8px;padding:12px;font-size:13px}";

/// Says what every line is at, under the pointer.
const SCRIPT: &str = "\
for(const figure of document.querySelectorAll('figure')){\
const svg=figure.querySelector('svg'),line=svg.querySelector('.pointer'),\
out=figure.querySelector('output');\
const series=[...svg.querySelectorAll('path')].map(path=>({name:path.dataset.name,\
points:path.dataset.points.split(';').filter(Boolean).map(point=>point.split('|'))}))\
.filter(series=>series.points.length);\
svg.addEventListener('pointermove',event=>{\
const box=svg.getBoundingClientRect(),x=(event.clientX-box.left)/box.width*svg.viewBox.baseVal.width;\
const near=series.map(({name,points})=>{const point=points.reduce((best,point)=>\
Math.abs(point[0]-x)<Math.abs(best[0]-x)?point:best);return{name,point}});\
if(!near.length)return;const at=near[0].point[0];line.setAttribute('x1',at);\
line.setAttribute('x2',at);line.style.visibility='visible';\
out.textContent=near[0].point[1]+': '+near.map(({name,point})=>name+' '+point[2]).join(', ')});\
svg.addEventListener('pointerleave',()=>{line.style.visibility='hidden';out.textContent=''})}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            [0.0, 0.3, 1.0, 1.1, 4.0, 7.0, 1234.0].map(nice),
            [1.0, 0.5, 1.0, 2.0, 5.0, 10.0, 2000.0]
        );
        assert_eq!(
            ["1.00 s", "10.0 ms", "0.50 µs", "2,000", "100 %"].map(trimmed),
            ["1 s", "10 ms", "0.5 µs", "2,000", "100 %"]
        );
    }

    #[test]
    fn what_a_server_said_can_not_become_markup() {
        assert_eq!(escaped("<script>\"&"), "&lt;script&gt;&quot;&amp;");
    }
}
