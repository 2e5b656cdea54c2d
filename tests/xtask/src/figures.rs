//! The figures of a fleet: their words, what they are to reach, and how they are shown.

use serde_json::Value;

/// One of them.
#[derive(Clone, Copy)]
pub struct Figure {
    /// What it is.
    pub words: &'static str,
    /// Its key in what a fleet's measuring answers.
    pub key: &'static str,
    unit: &'static str,
    goal: &'static str,
    /// Whether a thousand fan-outs reach the goal.
    reached: fn(f64) -> bool,
    /// From how many times as much on it is worse than before; nothing where more is not worse.
    pub worse_above: Option<f64>,
}

/// All of them.
pub const FIGURES: [Figure; 17] = [
    figure("applied → all Ready", "ready_s", "s").goal("< 60", |v| v < 60.0),
    figure("AWS calls per new fan-out", "calls_per_fan_out", "").goal("≤ 4", |v| v <= 4.0),
    figure(
        "idle AWS calls a minute, each account",
        "idle_calls_per_minute_and_account",
        "",
    )
    .goal("< 10", |v| v < 10.0),
    figure("execution's end → status, p50", "push_p50_ms", "ms"),
    figure("execution's end → status, p99", "push_p99_ms", "ms").goal("< 2000", |v| v < 2000.0),
    figure("new object → seen", "picked_up_ms", "ms").goal("< 1000", |v| v < 1000.0),
    figure("changed spec → seen and applied", "changed_ms", "ms"),
    figure("restart → leads", "restart_serving_s", "s"),
    figure("restart: AWS writes", "restart_aws_writes", "").goal("0", |v| v == 0.0),
    figure(
        "restart: Kubernetes writes",
        "restart_kubernetes_writes",
        "",
    )
    .goal("0", |v| v == 0.0),
    figure("restart: AWS calls", "restart_aws_calls", "").goal("< 100", |v| v < 100.0),
    figure("memory, idle", "rss_mib", "MiB")
        .goal("< 64", |v| v < 64.0)
        .worse_above(Some(1.02)),
    figure("memory, peak", "peak_mib", "MiB").worse_above(Some(1.02)),
    figure("CPU, idle", "idle_cpu_percent", "% of a core").goal("< 1", |v| v < 1.0),
    figure(
        "idle requests to the API server a minute",
        "idle_requests_per_minute",
        "",
    ),
    // Of these, more is not worse.
    figure(
        "AWS calls a second while all are made",
        "calls_per_second",
        "",
    )
    .worse_above(None),
    figure(
        "AWS calls a second that the endpoints bear",
        "endpoints_bear_per_second",
        "",
    )
    .worse_above(None),
];

const fn figure(words: &'static str, key: &'static str, unit: &'static str) -> Figure {
    Figure {
        words,
        key,
        unit,
        goal: "",
        reached: |_| true,
        worse_above: Some(1.05),
    }
}

impl Figure {
    const fn goal(self, goal: &'static str, reached: fn(f64) -> bool) -> Self {
        Self {
            goal,
            reached,
            ..self
        }
    }

    const fn worse_above(self, worse_above: Option<f64>) -> Self {
        Self {
            worse_above,
            ..self
        }
    }

    /// Its value in what was measured of a fleet.
    pub fn of(&self, fleet: &Value) -> f64 {
        fleet[self.key].as_f64().unwrap_or(f64::NAN)
    }

    /// A value of it, with its unit.
    pub fn show(&self, value: f64) -> String {
        let digits = usize::from(value < 10.0 && value.fract() != 0.0);
        format!("{value:.digits$} {}", self.unit)
            .trim_end()
            .to_owned()
    }
}

/// The figures beside their goals, which are those of a thousand.
pub fn table(measured: &[Value]) -> String {
    let title = |fleet: &Value| {
        let limits = if fleet["limits"] == true {
            ", AWS throttles"
        } else {
            ""
        };
        format!("{} fan-outs{limits}", fleet["size"])
    };
    let titles: Vec<String> = measured.iter().map(title).collect();
    let mut text = format!(
        "| figure | goal at 1000 | {} |\n| --- | --- |",
        titles.join(" | ")
    );
    text += &" ---: |".repeat(measured.len());
    for figure in FIGURES {
        text += &format!("\n| {} | {} |", figure.words, figure.goal);
        for fleet in measured {
            let value = figure.of(fleet);
            let judged = fleet["size"] == 1000 && fleet["limits"] == false;
            let missed = if judged && !(figure.reached)(value) {
                " (missed)"
            } else {
                ""
            };
            text += &format!(" {}{missed} |", figure.show(value));
        }
    }
    for fleet in measured.iter().filter(|fleet| fleet["limits"] == true) {
        let (ready, bound) = (
            fleet["ready_s"].as_f64().unwrap_or_default(),
            fleet["lower_bound_s"].as_f64().unwrap_or(1.0),
        );
        text += &format!(
            "\n\nThrottled: {ready:.0} s, {:.2} times the {bound:.0} s that the limits allow.",
            ready / bound
        );
    }
    text + "\n"
}
