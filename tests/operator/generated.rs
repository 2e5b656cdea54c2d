//! Generated files match the program.

use crate::case::world;

#[tokio::test]
async fn the_committed_files_are_what_they_follow_from() {
    let world = world();
    for (path, text) in support::generated(&world.helm, &repofanout::api::crds()).unwrap() {
        let committed = std::fs::read_to_string(support::root().join(&path)).unwrap_or_default();
        assert!(
            committed == text,
            "{} is stale: run `cargo xtask generate`",
            path.display()
        );
    }
}

#[test]
fn the_committed_schema_of_announcements_is_theirs() {
    let committed =
        std::fs::read_to_string(support::root().join("deploy/announcement.schema.json"))
            .unwrap_or_default();
    let schema = repofanout::feature::announce::message::Announcement::schema();
    assert!(
        committed == format!("{schema:#}\n"),
        "it is stale: run `cargo xtask generate`"
    );
}

#[test]
fn every_field_of_the_crd_has_a_description_and_every_string_a_limit() {
    let mut gaps = Vec::new();
    for (_, yaml) in repofanout::api::crds() {
        let crd: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            check(&schema[part], part, &mut gaps);
        }
    }
    assert!(gaps.is_empty(), "{gaps:#?}");
}

fn check(schema: &serde_json::Value, path: &str, gaps: &mut Vec<String>) {
    // Kubernetes' own Condition type brings limits of its own.
    if path.starts_with("status.conditions[]") {
        return;
    }
    let described =
        schema["description"].is_string() || path.ends_with("[]") || path.ends_with("{}");
    if !described {
        gaps.push(format!("{path}: no description"));
    }
    let bounded = match schema["type"].as_str() {
        Some("string") => {
            schema["maxLength"].is_number()
                || schema["enum"].is_array()
                || schema["format"] == "date-time"
        }
        Some("array") => schema["maxItems"].is_number(),
        Some("integer") => schema["maximum"].is_number() || path.ends_with("Generation"),
        Some("object") if schema["additionalProperties"].is_object() => {
            schema["maxProperties"].is_number()
        }
        _ => true,
    };
    if !bounded {
        gaps.push(format!("{path}: no maximum"));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        check(property, &format!("{path}.{name}"), gaps);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            check(&schema[key], &format!("{path}{mark}"), gaps);
        }
    }
}
