//! Random walks over valid specs, with faults on the way: after each step AWS holds what a fresh
//! creation of that spec would give, and a further reconcile writes nothing.
//!
//! `cargo xtask soak --minutes N` walks longer; it prints the seed, and `REPOFANOUT_SEED` repeats
//! the same walk.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::aws::{Effect, Fault, When};

use crate::case::{Case, REGION, base_name, world};
use crate::faults::{restart_if_killed, settle_delivered};

/// Numbers that follow from the seed alone (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len() as u64) as usize]
    }
}

fn env_number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn any_walk_of_specs_ends_where_a_fresh_creation_would() {
    let seed = env_number("REPOFANOUT_SEED").unwrap_or(7);
    let minutes = env_number("REPOFANOUT_SOAK_MINUTES");
    let end = Instant::now() + Duration::from_secs(60 * minutes.unwrap_or(0));
    let mut dice = Dice(seed);
    let mut case = Case::new("walk", &["--leader-elect=false"]).await;
    let repositories = [
        case.create_repository().await.0,
        format!("acme/{}-two", case.namespace),
    ];
    world().repositories.create(&repositories[1]).await.unwrap();
    for repository in &repositories {
        for branch in ["main", "next"] {
            case.push(repository, branch, &format!("{branch}.md"), "x\n")
                .await;
        }
    }
    let mut steps = 0;
    while steps < 5 || (minutes.is_some() && Instant::now() < end) {
        steps += 1;
        step(&mut case, &mut dice, &repositories, seed, steps).await;
    }
    eprintln!("walked {steps} specs from seed {seed}");
}

async fn step(
    case: &mut Case,
    dice: &mut Dice,
    repositories: &[String; 2],
    seed: u64,
    number: usize,
) {
    let spec = spec(dice, repositories);
    let repository = spec["repository"].as_str().unwrap().to_owned();
    let branch = spec["branch"].as_str().unwrap().to_owned();
    let context = format!("REPOFANOUT_SEED={seed}, step {number}: {spec}");
    eprintln!("{context}");
    let pid = case.operator.as_ref().expect("an operator").id();
    let effect = match dice.roll(5) {
        0 => Some(Effect::KillBefore(pid)),
        1 => Some(Effect::KillAfter(pid)),
        2 => Some(Effect::CutAfter),
        3 => Some(Effect::Fail {
            status: 503,
            code: "ServiceUnavailable".to_owned(),
            message: "for a while".to_owned(),
        }),
        _ => None,
    };
    if let Some(effect) = effect {
        let when = When::Nth(1 + dice.roll(6) as u32);
        let of = if dice.roll(2) == 0 {
            Fault::of_writes
        } else {
            Fault::of_reads
        };
        case.aws().fault(of(&case.account, when, effect));
    }
    case.apply("docs", spec.clone())
        .await
        .unwrap_or_else(|e| panic!("{context}: {e}"));
    let commit = case
        .push(&repository, &branch, "step.md", &format!("{number}\n"))
        .await;
    settle_delivered(case, &commit).await;
    case.aws().clear_faults(&case.account);
    restart_if_killed(case).await;

    let fresh = Case::new("fresh", &["--leader-elect=false"]).await;
    fresh.apply("docs", spec).await.unwrap();
    fresh.authorize("docs").await;
    fresh.wait_delivered("docs", &commit).await;
    let (ours, theirs) = (state_in_aws(case).await, state_in_aws(&fresh).await);
    assert_eq!(ours, theirs, "{context}");

    let writes = case.writes();
    let value = number.to_string();
    case.reconcile("docs", &value).await;
    assert_eq!(
        case.writes(),
        writes,
        "{context}: a further reconcile writes"
    );
}

fn spec(dice: &mut Dice, repositories: &[String; 2]) -> Value {
    let mut spec = json!({
        "repository": dice.pick(repositories),
        "branch": dice.pick(&["main", "next"]),
        "pipeline": {"executionMode": dice.pick(&["QUEUED", "SUPERSEDED"])},
        "notifications": {"detail": dice.pick(&["BASIC", "FULL"])},
        "artifacts": {"retentionDays": dice.pick(&[7, 30])},
    });
    if dice.roll(2) == 0 {
        spec["destination"] = json!({"prefix": dice.pick(&["here", "there/deep"])});
    }
    if dice.roll(2) == 0 {
        spec["notifications"]["events"] =
            json!(["pipeline-execution-failed", "pipeline-execution-succeeded"]);
    }
    spec
}

/// What AWS holds for the object, without names.
async fn state_in_aws(case: &Case) -> String {
    let status = case.status("docs").await;
    let base = base_name(&status);
    let aws = case.aws();
    let rules: Vec<(Vec<String>, Vec<String>)> = aws
        .rules(&case.account)
        .into_iter()
        .map(|r| (r.events, r.targets))
        .collect();
    let get = [
        ("Action", "GetRolePolicy"),
        ("RoleName", &*base),
        ("PolicyName", "repofanout"),
    ];
    let role = aws.form(&case.account, REGION, "iam", &get).await.unwrap();
    let role = role
        .split("<PolicyDocument>")
        .nth(1)
        .and_then(|r| r.split("</PolicyDocument>").next())
        .unwrap_or_default()
        .to_owned();
    let lifecycle = aws
        .s3(
            &case.account,
            REGION,
            "GET",
            &format!("/{base}-artifacts?lifecycle"),
            "",
        )
        .await
        .unwrap();
    let pipelines: Vec<Value> = aws.pipelines(&case.account).into_values().collect();
    let connection = status.connection.and_then(|c| c.arn).unwrap_or_default();
    let id = connection.rsplit('/').next().unwrap_or_default();
    let text = format!("{pipelines:#?}\n{rules:#?}\n{role}\n{lifecycle}");
    text.replace(id, "CONNECTION")
        .replace(&base, "BASE")
        .replace(&case.account, "ACCOUNT")
}
