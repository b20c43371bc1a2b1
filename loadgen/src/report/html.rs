//! One self-contained page: charts as SVG, the figures, the effective profile.
//! Nothing is loaded from anywhere, and without scripts only the readout under the
//! pointer is missing.

use super::{Recorded, Report, Second, amount, time};
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;

/// A line of a chart.
struct Series {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// A chart: lines over one axis.
struct Chart {
    title: &'static str,
    x: &'static str,
    series: Vec<Series>,
    show_x: fn(f64) -> String,
    show_y: fn(f64) -> String,
    /// The vertical axis in powers of ten.
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
         <h1>{name}</h1><p>Measured from {started} for {:.1} s.</p>",
        report.seconds
    );
    for warning in report.warnings() {
        let _ = write!(page, "<p class=\"warning\">{}</p>", escaped(&warning));
    }
    tiles(&mut page, report);
    for chart in charts(report) {
        if chart.series.iter().any(|series| !series.points.is_empty()) {
            chart.draw(&mut page);
        }
    }
    faults(&mut page, report);
    let _ = write!(page, "<h2>Values</h2><table>");
    for value in report.values() {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
            escaped(&value.name),
            amount(value.number),
            value.unit
        );
    }
    let _ = writeln!(
        page,
        "</table><h2>Profile</h2><pre>{}</pre></main><script>{SCRIPT}</script></body></html>",
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
            let _ = write!(page, "<div><b>{}</b><span>{title}</span></div>", show(*number));
        }
    }
    page.push_str("</div>");
}

fn charts(report: &Report) -> Vec<Chart> {
    let rows = &report.rows;
    let over_time = |name: &'static str, of: &dyn Fn(&Second) -> Option<f64>| Series {
        name,
        points: rows.iter().filter_map(|row| Some((row.at, of(row)?))).collect(),
    };
    let a_second = |count: u64, row: &Second| Some(count as f64 / row.lasting.max(1e-9));
    let seconds: fn(f64) -> String = |at| format!("{at:.0} s");
    let mut throughput = vec![
        over_time("received", &|row| a_second(row.messages, row)),
        over_time("sent", &|row| a_second(row.sent, row)),
    ];
    if rows.iter().any(|row| row.faults > 0) {
        throughput.push(over_time("errors", &|row| a_second(row.faults, row)));
    }
    let percentile = |percentile: f64| move |row: &Second| row.latency.us(percentile);
    let total = report.total();
    vec![
        Chart {
            title: "Messages a second",
            x: "time",
            series: throughput,
            show_x: seconds,
            show_y: |number| amount(number),
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
            is_logarithmic: true,
        },
        Chart {
            title: "Latency by percentile",
            x: "percentile",
            series: vec![
                by_percentile("from the planned time", &total.latency),
                by_percentile("uncorrected", &total.uncorrected),
            ],
            show_x: |nines| match nines {
                nines if nines < 0.5 => "0 %".into(),
                nines => format!("{} %", 100.0 - 100.0 / 10f64.powf(nines.round())),
            },
            show_y: time,
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
            show_y: |percent| format!("{percent:.0} %"),
            is_logarithmic: false,
        },
        Chart {
            title: "Resident memory of the server",
            x: "time",
            series: vec![over_time("resident", &|row| {
                Some(row.server?.resident_bytes as f64 / 1e6)
            })],
            show_x: seconds,
            show_y: |megabytes| format!("{megabytes:.1} MB"),
            is_logarithmic: false,
        },
    ]
}

/// Over the nines: 1 is 90 %, 2 is 99 %.
fn by_percentile(name: &'static str, recorded: &Recorded) -> Series {
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-7).log10();
    let points = recorded
        .0
        .iter_quantiles(5)
        .take_while(|step| step.quantile_iterated_to() < 1.0)
        .map(|step| (nines(step.quantile_iterated_to()), step.value_iterated_to() as f64 / 1e3))
        .collect();
    Series { name, points }
}

fn faults(page: &mut String, report: &Report) {
    let faults = report.faults();
    if faults.is_empty() {
        return;
    }
    let _ = write!(page, "<h2>Errors</h2><table>");
    for fault in faults {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
            escaped(&fault.kind),
            amount(fault.count as f64),
            escaped(&fault.example)
        );
    }
    let _ = write!(page, "</table>");
}

impl Chart {
    fn draw(&self, page: &mut String) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x_max = points().map(|point| point.0).fold(0.0, f64::max).max(1e-9);
        let raw_max = points().map(|point| point.1).fold(0.0, f64::max);
        let raw_min = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let (low, high, ticks) = match self.is_logarithmic {
            true => {
                let low = raw_min.max(0.1).log10().floor();
                let high = raw_max.max(0.1).log10().ceil().max(low + 1.0);
                let ticks = (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect();
                (low, high, ticks)
            }
            false => {
                let step = nice(raw_max / 4.0);
                let high = (raw_max / step).ceil().max(1.0) * step;
                let count = (high / step).round() as i32;
                (0.0, high, (0..=count).map(|tick| f64::from(tick) * step).collect::<Vec<_>>())
            }
        };
        let along = |x: f64| LEFT + x / x_max * (WIDTH - LEFT - RIGHT);
        let up = |y: f64| {
            let y = if self.is_logarithmic { y.max(0.1).log10() } else { y };
            HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
        };
        let _ = write!(
            page,
            "<h2>{}</h2><figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{} over {}\">",
            self.title, self.title, self.x
        );
        for tick in ticks {
            let y = up(tick);
            let _ = write!(
                page,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" class=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                (self.show_y)(tick)
            );
        }
        let step = nice(x_max / 8.0).max(if self.x == "percentile" { 1.0 } else { 0.0 });
        for tick in 0..=(x_max / step) as u32 {
            let at = f64::from(tick) * step;
            let _ = write!(
                page,
                "<text x=\"{:.1}\" y=\"{}\" class=\"middle\">{}</text>",
                along(at),
                HEIGHT - 10.0,
                (self.show_x)(at)
            );
        }
        for (number, series) in self.series.iter().enumerate() {
            let mut path = String::new();
            let mut readout = String::new();
            for (index, (x, y)) in series.points.iter().enumerate() {
                let command = if index == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{command}{:.1} {:.1}", along(*x), up(*y));
                let _ = write!(
                    readout,
                    "{:.1}|{}|{};",
                    along(*x),
                    (self.show_x)(*x),
                    (self.show_y)(*y)
                );
            }
            let _ = write!(
                page,
                "<path class=\"s{number}\" d=\"{path}\" data-name=\"{}\" data-points=\"{}\"/>",
                series.name,
                escaped(&readout)
            );
            // A single second would not be seen.
            if let [(x, y)] = series.points[..] {
                let _ = write!(
                    page,
                    "<circle class=\"s{number}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                    along(x),
                    up(y)
                );
            }
        }
        page.push_str("<line class=\"pointer\" y1=\"12\" y2=\"210\"/></svg><figcaption>");
        for (number, series) in self.series.iter().enumerate() {
            if !series.points.is_empty() {
                let _ = write!(page, "<span class=\"s{number}\">{}</span>", series.name);
            }
        }
        page.push_str("<output></output></figcaption></figure>");
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
:root{color-scheme:light dark;--ink:#1c2430;--dim:#66707d;--paper:#fff;--line:#e3e7ec;\
--c0:#1769d2;--c1:#d9730d;--c2:#c4314b;--c3:#7b45c4;--c4:#8a8f98}\
@media(prefers-color-scheme:dark){:root{--ink:#e3e8ef;--dim:#96a0ad;--paper:#12161c;\
--line:#2a323d;--c0:#5aa2ff;--c1:#f0a04b;--c2:#ff6b81;--c3:#b78cff;--c4:#9aa3ae}}\
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\
main{max-width:900px;margin:0 auto;padding:24px 16px}h1{margin:0}h2{font-size:17px;margin:28px 0 6px}\
p{margin:4px 0;color:var(--dim)}.warning{color:var(--c1)}\
.tiles{display:flex;flex-wrap:wrap;gap:10px;margin:18px 0}\
.tiles div{border:1px solid var(--line);border-radius:8px;padding:8px 14px}\
.tiles b{display:block;font-size:19px}.tiles span{color:var(--dim);font-size:13px}\
figure{margin:0}svg{width:100%;height:auto;display:block}\
svg text{fill:var(--dim);font-size:12px}.end{text-anchor:end}.middle{text-anchor:middle}\
.grid{stroke:var(--line)}.pointer{stroke:var(--dim);visibility:hidden}\
path{fill:none;stroke-width:1.8}\
path.s0{stroke:var(--c0)}path.s1{stroke:var(--c1)}path.s2{stroke:var(--c2)}path.s3{stroke:var(--c3)}\
path.s4{stroke:var(--c4)}circle.s0{fill:var(--c0)}circle.s1{fill:var(--c1)}circle.s2{fill:var(--c2)}\
circle.s3{fill:var(--c3)}circle.s4{fill:var(--c4)}\
figcaption{font-size:13px;color:var(--dim);min-height:3em}figcaption span{margin-right:14px}\
figcaption span::before{content:'';display:inline-block;width:14px;height:3px;margin-right:5px;\
vertical-align:middle;background:currentColor}\
span.s0::before{background:var(--c0)}span.s1::before{background:var(--c1)}\
span.s2::before{background:var(--c2)}span.s3::before{background:var(--c3)}\
span.s4::before{background:var(--c4)}output{display:block}\
table{border-collapse:collapse;width:100%;font-size:14px}td{border-bottom:1px solid var(--line);\
padding:3px 10px 3px 0;overflow-wrap:anywhere}.number{text-align:right;font-variant-numeric:tabular-nums}\
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
    }

    #[test]
    fn what_a_server_said_can_not_become_markup() {
        assert_eq!(escaped("<script>\"&"), "&lt;script&gt;&quot;&amp;");
    }
}
