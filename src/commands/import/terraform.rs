//! The blocks with which a Terraform configuration gives up resources that are taken over, without
//! destroying them.
//! <https://developer.hashicorp.com/terraform/language/block/removed>

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// The parts of a state file that are read.
#[derive(Debug, Deserialize)]
pub struct State {
    version: u32,
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    module: Option<String>,
    mode: String,
    #[serde(rename = "type")]
    type_: String,
    name: String,
    #[serde(default)]
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Debug, Default, Deserialize)]
struct Attributes {
    arn: Option<String>,
}

/// Reads a state file.
///
/// # Errors
/// The text is not a state file, or its version has not been written by Terraform since 2018.
pub fn state(text: &str) -> Result<State, String> {
    let state: State =
        serde_json::from_str(text).map_err(|e| format!("it is not a Terraform state: {e}"))?;
    if state.version != 4 {
        return Err(format!(
            "it is a Terraform state of version {}; give one of version 4, which Terraform 0.12 and later write",
            state.version
        ));
    }
    Ok(state)
}

/// The blocks for resources that are taken over, and comments where no block can help.
pub fn removed(states: &[State], taken: &BTreeSet<String>) -> Vec<String> {
    // A block names a resource with all its instances, in all instances of its modules.
    let mut resources: BTreeMap<String, Vec<Option<&String>>> = BTreeMap::new();
    for resource in states
        .iter()
        .flat_map(|s| &s.resources)
        .filter(|r| r.mode == "managed")
    {
        let module = resource
            .module
            .as_deref()
            .map(without_keys)
            .map(|module| format!("{module}."));
        let address = format!(
            "{}{}.{}",
            module.unwrap_or_default(),
            resource.type_,
            resource.name
        );
        resources
            .entry(address)
            .or_default()
            .extend(resource.instances.iter().map(|i| i.attributes.arn.as_ref()));
    }
    let is_taken = |arn: &Option<&String>| arn.is_some_and(|arn| taken.contains(arn));
    let touched = resources
        .into_iter()
        .filter(|(_, arns)| arns.iter().any(is_taken));
    let text = touched.map(|(address, arns)| match arns.iter().find(|arn| !is_taken(arn)) {
        None => format!("removed {{\n  from = {address}\n\n  lifecycle {{\n    destroy = false\n  }}\n}}"),
        Some(other) => format!(
            "# {address} has an instance that is not taken over ({}), and a removed block covers \
                 all instances: run `terraform state rm` for each of the others, with its key",
            other.map_or("without an ARN", String::as_str)
        ),
    });
    text.collect()
}

/// Strips instance keys: `module.a["x"].module.b` becomes `module.a.module.b`.
fn without_keys(module: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    for c in module.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_for_resources_all_of_whose_instances_are_taken() {
        let text = serde_json::json!({"version": 4, "resources": [
            {"mode": "managed", "type": "aws_codepipeline", "name": "one", "instances": [{"attributes": {"arn": "a"}}]},
            {"mode": "managed", "type": "aws_codepipeline", "name": "many", "module": "module.x[\"k\"]",
             "instances": [{"index_key": 0, "attributes": {"arn": "b"}}, {"index_key": 1, "attributes": {"arn": "c"}}]},
            {"mode": "data", "type": "aws_codepipeline", "name": "read", "instances": [{"attributes": {"arn": "a"}}]},
            {"mode": "managed", "type": "aws_s3_bucket", "name": "other", "instances": [{"attributes": {"bucket": "x"}}]},
        ]});
        let states = [state(&text.to_string()).unwrap()];
        let taken = |arns: &[&str]| {
            arns.iter()
                .map(|a| (*a).to_owned())
                .collect::<BTreeSet<_>>()
        };
        let all = removed(&states, &taken(&["a", "b", "c"]));
        assert_eq!(all.len(), 2);
        assert!(
            all[0].contains("from = aws_codepipeline.one\n"),
            "{}",
            all[0]
        );
        assert!(
            all[1].contains("from = module.x.aws_codepipeline.many\n"),
            "{}",
            all[1]
        );
        let some = removed(&states, &taken(&["b"]));
        assert!(
            some.len() == 1 && some[0].starts_with("# module.x.aws_codepipeline.many"),
            "{some:?}"
        );
        assert!(state("{\"version\": 3}").is_err() && state("no").is_err());
    }
}
