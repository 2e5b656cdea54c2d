//! Pictures of what was measured.

use std::path::Path;

use plotters::prelude::*;
use serde_json::Value;
use support::Result;

const SIZE: (u32, u32) = (960, 300);

/// What fleets cost while nothing happens, over their size.
pub fn fleets(measured: &[Value], file: &Path) -> Result<()> {
    let unlimited: Vec<&Value> = measured
        .iter()
        .filter(|fleet| fleet["limits"] == false)
        .collect();
    let points = |key: &str| -> Vec<(f64, f64)> {
        unlimited
            .iter()
            .filter_map(|fleet| Some((fleet["size"].as_f64()?, fleet[key].as_f64()?)))
            .collect()
    };
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    draw(
        &area,
        &[
            (
                "AWS calls a minute, idle, each account",
                points("idle_calls_per_minute_and_account"),
            ),
            ("CPU, idle, % of a core", points("idle_cpu_percent")),
            ("memory, idle, MiB", points("rss_mib")),
        ],
    )
    .map_err(|e| format!("{}: {e}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(
    area: &Area<'_>,
    figures: &[(&str, Vec<(f64, f64)>)],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    for (panel, (title, points)) in area.split_evenly((1, figures.len())).iter().zip(figures) {
        let most = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).fold(1.0, f64::max);
        let (right, top) = (most(|p| p.0) * 2.0, most(|p| p.1) * 1.2);
        let left = points.iter().map(|p| p.0).fold(right, f64::min) / 2.0;
        let mut chart = ChartBuilder::on(panel)
            .caption(title, ("sans-serif", 15))
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(44)
            .build_cartesian_2d((left..right).log_scale(), 0f64..top)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .disable_x_mesh()
            .x_labels(4)
            .x_desc("fan-outs")
            .x_label_formatter(&|n| format!("{n:.0}"))
            .draw()?;
        chart.draw_series(LineSeries::new(
            points.iter().copied(),
            BLUE.stroke_width(2),
        ))?;
        chart.draw_series(
            points
                .iter()
                .map(|point| Circle::new(*point, 4, BLUE.filled())),
        )?;
        chart.draw_series(points.iter().map(|(n, value)| {
            Text::new(
                format!("{value:.1}"),
                (*n, value + top * 0.07),
                ("sans-serif", 13),
            )
        }))?;
    }
    area.present()?;
    Ok(())
}

/// A panel of the dashboard, and what its queries answered.
pub struct Panel {
    pub title: String,
    pub unit: String,
    /// Whether it shows the last value alone.
    pub stat: bool,
    /// Left, top, width and height in Grafana's grid of 24 columns.
    pub place: [f64; 4],
    pub lines: Vec<Line>,
    pub seconds: f64,
}

/// A series: seconds and values.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// The dashboard's panels, where Grafana has them.
pub fn dashboard(panels: &[Panel], file: &Path) -> Result<()> {
    const CELL: (f64, f64) = (54.0, 30.0);
    let bottom = panels
        .iter()
        .map(|p| p.place[1] + p.place[3])
        .fold(0.0, f64::max);
    let size = ((24.0 * CELL.0) as u32, (bottom * CELL.1) as u32);
    let area = SVGBackend::new(file, size).into_drawing_area();
    let draw = || -> std::result::Result<(), Box<dyn std::error::Error>> {
        area.fill(&RGBColor(244, 245, 245))?;
        for panel in panels {
            let [x, y, w, h] = panel.place;
            let (left, top) = ((x * CELL.0) as i32 + 3, (y * CELL.1) as i32 + 3);
            let (right, bottom) = (((x + w) * CELL.0) as i32 - 3, ((y + h) * CELL.1) as i32 - 3);
            area.draw(&Rectangle::new(
                [(left, top), (right, bottom)],
                WHITE.filled(),
            ))?;
            area.draw(&Text::new(
                panel.title.clone(),
                (left + 8, top + 6),
                ("sans-serif", 14),
            ))?;
            if panel.stat {
                let last = panel
                    .lines
                    .first()
                    .and_then(|line| line.points.last())
                    .map(|(_, value)| *value);
                let value = last.map_or("no data".to_owned(), |value| shown(value, &panel.unit));
                area.draw(&Text::new(
                    value,
                    (left + 8, top + 44),
                    ("sans-serif", 34).into_font().color(&series(2)),
                ))?;
                continue;
            }
            let inner = area.clone().shrink(
                (left as u32, top as u32 + 22),
                ((right - left) as u32, (bottom - top) as u32 - 24),
            );
            graph(&inner, panel)?;
        }
        area.present()?;
        Ok(())
    };
    draw().map_err(|e| format!("{}: {e}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

fn graph(area: &Area<'_>, panel: &Panel) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let top = panel
        .lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|(_, value)| *value)
        .fold(0.0, f64::max)
        .max(1e-3)
        * 1.1;
    let mut builder = ChartBuilder::on(area);
    builder
        .margin(6)
        .margin_right(150)
        .x_label_area_size(18)
        .y_label_area_size(46);
    let mut chart = builder.build_cartesian_2d(0f64..panel.seconds, 0f64..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(230, 230, 230))
        .x_labels(5)
        .y_labels(4)
        .x_label_formatter(&|seconds| {
            format!("{}:{:02}", *seconds as u32 / 60, *seconds as u32 % 60)
        })
        .y_label_formatter(&|value| shown(*value, &panel.unit))
        .draw()?;
    for (index, line) in panel.lines.iter().enumerate() {
        chart.draw_series(LineSeries::new(
            line.points.iter().copied(),
            series(index).stroke_width(2),
        ))?;
    }
    let (width, _) = area.dim_in_pixel();
    for (index, line) in panel.lines.iter().enumerate().take(10) {
        let (x, y) = (width as i32 - 146, 8 + index as i32 * 14);
        area.draw(&Rectangle::new(
            [(x, y + 3), (x + 8, y + 8)],
            series(index).filled(),
        ))?;
        let name: String = line.name.chars().take(24).collect();
        area.draw(&Text::new(name, (x + 12, y), ("sans-serif", 11)))?;
    }
    Ok(())
}

fn series(index: usize) -> RGBColor {
    const COLORS: [(u8, u8, u8); 8] = [
        (31, 119, 180),
        (255, 127, 14),
        (44, 130, 60),
        (200, 40, 40),
        (148, 103, 189),
        (140, 86, 75),
        (220, 100, 180),
        (110, 110, 110),
    ];
    let (r, g, b) = COLORS[index % COLORS.len()];
    RGBColor(r, g, b)
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        "percentunit" => format!("{:.0} %", value * 100.0),
        "s" if value < 1.0 => format!("{:.0} ms", value * 1000.0),
        "s" => format!("{value:.1} s"),
        _ if value.fract().abs() < 1e-9 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}
