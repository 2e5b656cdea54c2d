//! Which pipelines a push, a tag or a pull request starts.

use serde_json::{Value, json};

/// What the provider's app tells of.
pub struct Event<'a> {
    /// A branch, `refs/tags/…`, or `refs/pull/INTO/NUMBER`.
    pub reference: &'a str,
    /// `OPEN`, `UPDATED` or `CLOSED`.
    pub change: &'a str,
    /// Paths of the files that the newest commit changed.
    pub paths: Vec<String>,
}

/// What the trigger is called in an execution that the event starts; nothing if it starts none.
pub fn starts(structure: &Value, source: &Value, event: &Event<'_>) -> Option<&'static str> {
    let triggers = structure["triggers"].as_array().into_iter().flatten();
    let configurations: Vec<&Value> = triggers
        .map(|t| &t["gitConfiguration"])
        .filter(|g| g.is_object())
        .collect();
    if configurations.is_empty() {
        let detects = source["DetectChanges"] != "false" && event.change != "CLOSED";
        return (detects && source["BranchName"] == event.reference).then_some("Webhook");
    }
    let filters = |kind: &str| {
        configurations
            .iter()
            .filter_map(move |g| g[kind].as_array())
            .flatten()
            .collect::<Vec<_>>()
    };
    let touches = |f: &Value| {
        f["filePaths"].is_null() || event.paths.iter().any(|path| lets(&f["filePaths"], path))
    };
    let through = if let Some(tag) = event.reference.strip_prefix("refs/tags/") {
        filters("push")
            .into_iter()
            .any(|f| f["tags"].is_object() && lets(&f["tags"], tag))
    } else if let Some(pull) = event.reference.strip_prefix("refs/pull/") {
        let into = pull.rsplit_once('/').map_or(pull, |(into, _)| into);
        let happens = |f: &Value| {
            f["events"]
                .as_array()
                .is_none_or(|all| all.contains(&json!(event.change)))
        };
        filters("pullRequest")
            .into_iter()
            .any(|f| happens(f) && lets(&f["branches"], into) && touches(f))
    } else {
        let push =
            |f: &&Value| f["tags"].is_null() && lets(&f["branches"], event.reference) && touches(f);
        event.change != "CLOSED" && filters("push").iter().any(push)
    };
    through.then_some("WebhookV2")
}

/// Whether patterns let the text through; those of AWS do not cross a slash with a single star.
fn lets(patterns: &Value, text: &str) -> bool {
    let fits = |pattern: &Value| {
        let glob = globset::GlobBuilder::new(pattern.as_str().unwrap_or_default())
            .literal_separator(true)
            .build();
        glob.is_ok_and(|glob| glob.compile_matcher().is_match(text))
    };
    let any = |kind: &str| patterns[kind].as_array().map(|all| all.iter().any(fits));
    any("excludes") != Some(true) && any("includes") != Some(false)
}

/// The trigger that AWS shows of a V2 pipeline that detects changes and has none of its own. Without
/// the detection there is none (terraform-provider-aws#38409).
pub fn default(structure: &Value) -> Option<Value> {
    let own = structure["triggers"]
        .as_array()
        .is_some_and(|t| !t.is_empty());
    let stages = structure["stages"].as_array().into_iter().flatten();
    let mut actions = stages.filter_map(|s| s["actions"].as_array()).flatten();
    let source = actions.find(|a| a["actionTypeId"]["provider"] == "CodeStarSourceConnection")?;
    let configuration = &source["configuration"];
    let detects = configuration["DetectChanges"] != "false";
    let push = json!([{"branches": {"includes": [configuration["BranchName"]]}}]);
    (structure["pipelineType"] == "V2" && !own && detects).then(|| {
        json!({
            "providerType": "CodeStarSourceConnection",
            "gitConfiguration": {"sourceActionName": source["name"], "push": push},
        })
    })
}

/// What AWS refuses of triggers.
pub fn check(structure: &Value) -> Result<(), String> {
    let triggers = structure["triggers"].as_array().into_iter().flatten();
    for trigger in triggers {
        let git = &trigger["gitConfiguration"];
        if structure["pipelineType"] != "V2" {
            return Err("Triggers are only supported in V2 pipelines".to_owned());
        }
        let stages = structure["stages"].as_array().into_iter().flatten();
        let mut actions = stages.filter_map(|s| s["actions"].as_array()).flatten();
        if trigger["providerType"] != "CodeStarSourceConnection"
            || !actions.any(|a| a["name"] == git["sourceActionName"])
        {
            return Err(format!(
                "no source action {} of the trigger's provider",
                git["sourceActionName"]
            ));
        }
        let both = |f: &Value| {
            f["tags"].is_object() && (f["branches"].is_object() || f["filePaths"].is_object())
        };
        if git["push"].as_array().into_iter().flatten().any(both) {
            return Err("tags cannot be combined with other filters".to_owned());
        }
        // File paths are taken only beside branches, of pushes and of pull requests
        // (aws-cdk#29127, whose author tried it; CDK validates the same).
        let lone = |f: &Value| f["filePaths"].is_object() && !f["branches"].is_object();
        let filters = [&git["push"], &git["pullRequest"]];
        let mut filters = filters.into_iter().filter_map(Value::as_array).flatten();
        if filters.any(lone) {
            return Err("Make sure to choose valid filter combinations".to_owned());
        }
    }
    Ok(())
}
