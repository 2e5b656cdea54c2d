//! One story again and again, each time with the fault at another call.

use std::io::Write;
use std::sync::atomic::Ordering;

use futures::{Stream, StreamExt};

use super::stage::Stage;
use super::story::Story;
use super::strike::{Side, Strike, disarm};

/// So many runs of a story at the same time.
const AT_ONCE: u32 = 4;

/// Runs the story with the fault at its first write, at its second, and so on, until the story has
/// no further write; answers how many faults struck.
pub async fn at_every_write(side: Side, story: &impl Story, strike: Strike) -> usize {
    let mut tried = 0;
    let mut first = 1;
    loop {
        let runs = futures::stream::iter(first..first + AT_ONCE)
            .map(|n| survive(side, story, strike, n))
            .buffered(AT_ONCE as usize);
        let struck = count_struck(runs).await;
        tried += struck;
        if struck < AT_ONCE as usize {
            report(side, story, strike, tried);
            return tried;
        }
        first += AT_ONCE;
    }
}

/// Runs the story with the fault at each of these calls; answers how many faults struck.
pub async fn at_a_sample(side: Side, story: &impl Story, strike: Strike, calls: &[u32]) -> usize {
    let runs = futures::stream::iter(calls)
        .map(|n| survive(side, story, strike, *n))
        .buffered(3);
    let struck = count_struck(runs).await;
    report(side, story, strike, struck);
    struck
}

async fn count_struck(runs: impl Stream<Item = bool>) -> usize {
    runs.filter(|struck| std::future::ready(*struck))
        .count()
        .await
}

fn report(side: Side, story: &impl Story, strike: Strike, tried: usize) {
    // Not by a macro, whose output the test harness would capture.
    let _ = writeln!(
        std::io::stderr(),
        "{side:?}, {}, {}: {tried} points tried, all passed",
        story.name(),
        strike.name
    );
}

/// Runs the story once with the fault at its n-th call; answers whether the story came to that call.
async fn survive(side: Side, story: &impl Story, strike: Strike, n: u32) -> bool {
    let name = format!("{}{}-{}-{n}", side.prefix(), strike.name, story.name());
    let mut stage = Stage::new(&name).await;
    story.prepare(&mut stage).await;
    let struck = side.arm(&stage.case, strike, n);
    story.run(&mut stage).await;
    disarm(&stage.case);
    story.check(&mut stage).await;
    struck.load(Ordering::SeqCst)
}
