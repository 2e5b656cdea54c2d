//! Generated files: the chart's copies, `deploy/`, the references. `cargo xtask generate` writes
//! them, and a test fails where a committed one is stale.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::helm::Helm;
use crate::{Result, root};

/// The path below the project's folder and the text of each file.
///
/// # Errors
/// The chart cannot be rendered, or a source cannot be read.
pub fn generated(helm: &Helm, crds: &[(&str, String)]) -> Result<Vec<(PathBuf, String)>> {
    let chart = PathBuf::from("charts/repofanout");
    let mut files = Vec::new();
    for (file, yaml) in crds {
        files.push((PathBuf::from("crds").join(file), yaml.clone()));
        files.push((chart.join("files/crds").join(file), yaml.clone()));
    }
    files.push((
        chart.join("files/dashboard.json"),
        read("deploy/dashboards/repofanout.json")?,
    ));
    let values = read("charts/repofanout/values.yaml")?;
    let options = options(&values)?;
    files.push((chart.join("values.schema.json"), schema(&options)));
    files.push((chart.join("README.md"), chart_reference(&options)));
    files.push((PathBuf::from("crds/README.md"), api_reference(crds)?));
    files.push((PathBuf::from("deploy/base/repofanout.yaml"), base(helm)?));
    files.push((
        PathBuf::from("deploy/argocd/argocd-cm.yaml"),
        argocd_cm(&read("deploy/argocd/health.lua")?),
    ));
    Ok(files)
}

/// Argo CD's settings, with the health script for both kinds.
fn argocd_cm(script: &str) -> String {
    let mut text = "# Generated from health.lua by `cargo xtask generate`.\napiVersion: v1\nkind: \
         ConfigMap\nmetadata:\n  name: argocd-cm\n  labels:\n    app.kubernetes.io/part-of: \
         argocd\ndata:\n"
        .to_owned();
    for kind in ["RepoFanout", "RepoFanoutClass"] {
        let _ = writeln!(
            text,
            "  resource.customizations.health.repofanout.dev_{kind}: |"
        );
        for line in script.lines() {
            let _ = writeln!(text, "{}", format!("    {line}").trim_end());
        }
    }
    text
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).map_err(|e| format!("{path}: {e}"))
}

/// The chart as plain manifests for kustomize; the CRDs are a base of their own.
fn base(helm: &Helm) -> Result<String> {
    let rendered = helm.template(
        "repofanout",
        "repofanout-system",
        &[
            "--set=crds.enabled=false",
            "--no-hooks",
            "--skip-schema-validation",
        ],
    )?;
    let ours = |line: &&str| {
        let line = line.trim_start();
        ![
            "helm.sh/chart:",
            "app.kubernetes.io/managed-by: Helm",
            "# Source:",
        ]
        .iter()
        .any(|p| line.starts_with(p))
    };
    let lines: Vec<&str> = rendered.lines().filter(ours).collect();
    Ok(format!(
        "# Generated from charts/repofanout by `cargo xtask generate`.\n{}\n",
        lines.join("\n").trim_end()
    ))
}

/// One option of the chart.
struct Setting {
    path: Vec<String>,
    about: String,
    /// The JSON schema beside the type.
    schema: Value,
    /// The default value; none for a group of settings.
    default: Option<Value>,
}

/// The options in the order of the file. Lines above an option that begin with `# --` describe it;
/// a map is one option, unless something in it is described.
fn options(values: &str) -> Result<Vec<Setting>> {
    let parsed: Value = serde_saphyr::from_str(values).map_err(|e| format!("values.yaml: {e}"))?;
    let mut found: Vec<Setting> = Vec::new();
    let (mut path, mut about, mut schema) = (Vec::<String>::new(), String::new(), json!({}));
    for line in values.lines() {
        let text = line.trim_start();
        if let Some(said) = text.strip_prefix("# -- ") {
            about = said.to_owned();
            continue;
        }
        if let Some(said) = text.strip_prefix("# @schema ") {
            schema = serde_json::from_str(said).map_err(|e| format!("values.yaml: {said}: {e}"))?;
            continue;
        }
        let Some((key, _)) = text
            .split_once(':')
            .filter(|_| !text.starts_with(['#', '-']))
        else {
            continue;
        };
        path.truncate((line.len() - text.len()) / 2);
        path.push(key.to_owned());
        if found
            .iter()
            .any(|s| s.default.is_some() && path.starts_with(&s.path))
        {
            continue;
        }
        let value = parsed
            .pointer(&format!("/{}", path.join("/")))
            .cloned()
            .unwrap_or_default();
        let inner = path.len();
        // A map in which an option is described is a group; the loop comes to that option later.
        let group = value.as_object().is_some_and(|map| !map.is_empty())
            && described_within(values, &path, inner);
        found.push(Setting {
            path: path.clone(),
            about: std::mem::take(&mut about),
            schema: std::mem::replace(&mut schema, json!({})),
            default: (!group).then_some(value),
        });
    }
    Ok(found)
}

/// Whether a described option lies within the map with this path.
fn described_within(values: &str, path: &[String], depth: usize) -> bool {
    let mut at: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in values.lines() {
        let text = line.trim_start();
        let indent = (line.len() - text.len()) / 2;
        if inside && text.starts_with("# --") && indent >= depth {
            return true;
        }
        if let Some((key, _)) = text
            .split_once(':')
            .filter(|_| !text.starts_with(['#', '-']))
        {
            at.truncate(indent);
            at.push(key);
            let here = at.len() >= depth && at.iter().zip(path).all(|(a, b)| a == b);
            if inside && !here {
                return false;
            }
            inside = here;
        }
    }
    false
}

/// A JSON schema that refuses misspelled options.
fn schema(options: &[Setting]) -> String {
    let mut whole = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": false,
        "properties": {},
    });
    for option in options {
        let mut at = &mut whole;
        for part in &option.path[..option.path.len() - 1] {
            at = &mut at["properties"][part];
        }
        let mut said = Map::new();
        if !option.about.is_empty() {
            said.insert("description".to_owned(), json!(option.about));
        }
        match &option.default {
            None => {
                said.insert("type".to_owned(), json!("object"));
                said.insert("additionalProperties".to_owned(), json!(false));
                said.insert("properties".to_owned(), json!({}));
            }
            Some(default) => {
                let kind = match default {
                    Value::Bool(_) => json!("boolean"),
                    Value::Number(_) => json!("integer"),
                    Value::String(_) => json!("string"),
                    Value::Array(_) => json!("array"),
                    // A user removes a default with null.
                    Value::Object(_) | Value::Null => json!(["object", "null"]),
                };
                said.insert("type".to_owned(), kind);
            }
        }
        said.extend(option.schema.as_object().cloned().unwrap_or_default());
        at["properties"][option.path.last().expect("never empty")] = Value::Object(said);
    }
    // Helm also passes the values of subcharts and the global ones.
    format!("{whole:#}\n")
}

fn chart_reference(options: &[Setting]) -> String {
    let mut text = "<!-- Generated from values.yaml by `cargo xtask generate`. -->\n# Chart \
         `repofanout`\n\nInstallation and upgrades: the [README](../../README.md#install). A \
         value that this table does not have is refused.\n\n| value | default | what it does |\n| \
         --- | --- | --- |\n"
        .to_owned();
    for option in options {
        let Some(default) = &option.default else {
            continue;
        };
        let shown = match default {
            Value::String(text) if text.is_empty() => "`\"\"`".to_owned(),
            Value::String(text) => format!("`{text}`"),
            Value::Object(map) if map.is_empty() => "`{}`".to_owned(),
            Value::Array(all) if all.is_empty() => "`[]`".to_owned(),
            Value::Object(_) | Value::Array(_) => "see `values.yaml`".to_owned(),
            other => format!("`{other}`"),
        };
        let _ = writeln!(
            text,
            "| `{}` | {shown} | {} |",
            option.path.join("."),
            option.about.replace('|', "\\|")
        );
    }
    text
}

/// Every field of the custom resources, as the API server knows them.
fn api_reference(crds: &[(&str, String)]) -> Result<String> {
    let mut text = "<!-- Generated by `cargo xtask generate`. -->\n# API reference\n\nThe same in \
         the cluster: `kubectl explain rf.spec`.\n"
        .to_owned();
    for (_, yaml) in crds {
        let crd: Value = serde_saphyr::from_str(yaml).map_err(|e| e.to_string())?;
        let names = &crd["spec"]["names"];
        let version = &crd["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let _ = writeln!(
            text,
            "\n## {}\n\n`{}/{}`, {}, short name `{}`.\n\n{}",
            string(&names["kind"]),
            string(&crd["spec"]["group"]),
            string(&version["name"]),
            string(&crd["spec"]["scope"]).to_lowercase(),
            string(&names["shortNames"][0]),
            string(&schema["description"]),
        );
        for part in ["spec", "status"] {
            let _ = writeln!(
                text,
                "\n### {part}\n\n| field | type | what it is |\n| --- | --- | --- |"
            );
            fields(&schema["properties"][part], part, &mut text);
        }
        let _ = writeln!(text, "\n### Printer columns\n");
        for column in version["additionalPrinterColumns"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let _ = writeln!(
                text,
                "- {}: `{}`",
                string(&column["name"]),
                string(&column["jsonPath"])
            );
        }
    }
    Ok(text)
}

fn fields(schema: &Value, path: &str, text: &mut String) {
    let rules: Vec<&str> = schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|r| r["message"].as_str())
        .collect();
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !rules.is_empty() {
        let _ = writeln!(text, "| `{path}` | | {} |", cell(&rules.join("; ")));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let mut about = field["description"].as_str().unwrap_or_default().to_owned();
        if required.contains(&name.as_str()) {
            about += " Required.";
        }
        if !field["default"].is_null() {
            let _ = write!(about, " Default: {}.", field["default"]);
        }
        let _ = writeln!(
            text,
            "| `{path}` | {} | {} |",
            cell(&kind(field)),
            cell(&about)
        );
        // Kubernetes' own type needs no explanation.
        if name != "conditions" {
            fields(field, &path, text);
            fields(&field["items"], &format!("{path}[]"), text);
            fields(&field["additionalProperties"], &format!("{path}.*"), text);
        }
    }
}

/// Type and bounds of a field, in few words.
fn kind(field: &Value) -> String {
    let mut words = vec![match field["type"].as_str().unwrap_or("any") {
        "array" => format!("list of {}", kind(&field["items"])),
        "object" if field["additionalProperties"].is_object() => {
            format!("map of {}", kind(&field["additionalProperties"]))
        }
        plain => plain.to_owned(),
    }];
    if let Some(all) = field["enum"].as_array() {
        words.push(
            all.iter()
                .filter_map(Value::as_str)
                .map(|v| format!("`{v}`"))
                .collect::<Vec<_>>()
                .join(", "),
        );
    }
    for (key, word) in [
        ("maxLength", "at most {} characters"),
        ("maxItems", "at most {}"),
        ("maximum", "at most {}"),
        ("minimum", "at least {}"),
    ] {
        if field[key].is_number() {
            words.push(word.replace("{}", field[key].to_string().trim_end_matches(".0")));
        }
    }
    if let Some(pattern) = field["pattern"].as_str() {
        words.push(format!("`{pattern}`"));
    }
    words.join("; ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
