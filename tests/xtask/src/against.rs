//! `cargo xtask bench --against REVISION`: fleets of this tree and of another one, measured in turn,
//! so that whatever else the machine does meets both. It prints and fails nothing.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Result, build, former, root, target};

use crate::figures::{FIGURES, Figure};
use crate::fleet::Fleet;

/// Ten minutes, as `bench` alone waits, would be too long for so many fleets.
const QUIET: Duration = Duration::from_secs(60);

/// What was measured of fleets of one size, the n-th of one tree right before the n-th of the
/// other.
#[derive(Default)]
struct Pair {
    size: usize,
    this: Vec<Value>,
    former: Vec<Value>,
}

/// Measures fleets of these sizes, each so many times, and prints.
pub fn run(revision: &str, rounds: usize, sizes: &[usize]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (this, former) = programs(revision, &folder.join("this"))?;
    let mut pairs: Vec<Pair> = Vec::new();
    for size in sizes.iter().copied().filter(|size| *size > 0) {
        let fleet = Fleet {
            size,
            limits: false,
            quiet: QUIET,
        };
        let mut pair = Pair {
            size,
            ..Pair::default()
        };
        for round in 1..=rounds {
            eprintln!("\n{size} fan-outs, round {round} of {rounds}: this tree");
            pair.this.push(runtime.block_on(fleet.measure(&this))?);
            eprintln!("\n{size} fan-outs, round {round} of {rounds}: {revision}");
            pair.former.push(runtime.block_on(fleet.measure(&former))?);
        }
        pairs.push(pair);
        // After each size, so that nothing is lost with a later one.
        let json = json!({
            "revision": revision, "rounds": rounds, "quiet_s": QUIET.as_secs(),
            "fleets": pairs.iter().map(Pair::json).collect::<Vec<_>>(),
        });
        let json = serde_json::to_string_pretty(&json).map_err(|e| e.to_string())?;
        std::fs::write(folder.join("against.json"), json).map_err(|e| e.to_string())?;
        let text = text(revision, rounds, &pairs);
        std::fs::write(folder.join("against.md"), text).map_err(|e| e.to_string())?;
    }
    println!("\n{}", text(revision, rounds, &pairs));
    Ok(())
}

/// The operators of this tree and of the revision. This tree's is built last, which puts right what
/// the other one's build has left in the target folder, and is copied to `copy`, so that whoever
/// builds meanwhile changes nothing.
fn programs(revision: &str, copy: &std::path::Path) -> Result<(PathBuf, PathBuf)> {
    eprintln!("building both operators in release mode");
    let former = former(revision, true, Some(&target()), |line| eprintln!("{line}"))?;
    let built = build(true)?;
    std::fs::copy(&built, copy).map_err(|e| format!("{}: {e}", built.display()))?;
    Ok((copy.to_owned(), former))
}

fn text(revision: &str, rounds: usize, pairs: &[Pair]) -> String {
    let mut text = format!(
        "This tree against {revision}: each was measured {rounds} times, in turn, with {} quiet \
         seconds. The ratio is that of a round, this tree over {revision}: the median, and the \
         least and the most of all rounds.\n",
        QUIET.as_secs()
    );
    for pair in pairs {
        text += &format!(
            "\n| {} fan-outs | this tree | {revision} | ratio | |\n| --- | ---: | ---: | ---: | \
             --- |\n",
            pair.size
        );
        text += &FIGURES.map(|figure| pair.row(&figure)).concat();
    }
    text
}

impl Pair {
    fn json(&self) -> Value {
        json!({"size": self.size, "this": self.this, "former": self.former})
    }

    /// What was measured of both, and whether it became worse.
    fn row(&self, figure: &Figure) -> String {
        let of = |fleets: &[Value]| -> Vec<f64> { fleets.iter().map(|f| figure.of(f)).collect() };
        let (this, former) = (of(&self.this), of(&self.former));
        let ratios: Vec<f64> = this
            .iter()
            .zip(&former)
            .map(|(a, b)| ratio(*a, *b))
            .collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let ratio = median(ratios);
        let worse = match figure.worse_above {
            Some(bound) if ratio > bound => format!("worse: above {bound}"),
            _ => String::new(),
        };
        format!(
            "| {} | {} | {} | {ratio:.2} ({least:.2}–{most:.2}) | {worse} |\n",
            figure.words,
            figure.show(median(this)),
            figure.show(median(former)),
        )
    }
}

/// How many times as much as before; what was and is nothing has not changed.
fn ratio(this: f64, former: f64) -> f64 {
    if this == former { 1.0 } else { this / former }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleets(values: &[f64]) -> Vec<Value> {
        let all = values.iter().map(|v| json!({"rss_mib": v, "ready_s": v}));
        all.collect()
    }

    #[test]
    fn a_row_is_worse_by_its_median_and_memory_sooner_than_time() {
        let pair = Pair {
            size: 1000,
            this: fleets(&[10.3, 20.0, 10.3]),
            former: fleets(&[10.0, 10.0, 10.0]),
        };
        let row = |key: &str| pair.row(FIGURES.iter().find(|f| f.key == key).unwrap());
        let memory = "| memory, idle | 10 MiB | 10 MiB | 1.03 (1.03–2.00) | worse: above 1.02 |\n";
        assert_eq!(row("rss_mib"), memory);
        let time = "| applied → all Ready | 10 s | 10 s | 1.03 (1.03–2.00) |  |\n";
        assert_eq!(row("ready_s"), time);
        assert_eq!(ratio(0.0, 0.0), 1.0);
        assert!(ratio(1.0, 0.0) > 1.05);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
    }
}
