//! botocore's service models: would AWS take this request?

use std::collections::HashMap;
use std::path::Path;

use flate2::read::GzDecoder;
use regex::Regex;
use serde_json::Value;

/// The models of the services that are answered here.
pub struct Judge {
    models: HashMap<&'static str, Value>,
    patterns: HashMap<String, Regex>,
}

const MODELS: [(&str, &str); 3] = [
    ("codepipeline", "codepipeline/2015-07-09"),
    ("codestar-connections", "codestar-connections/2019-12-01"),
    (
        "codestar-notifications",
        "codestar-notifications/2019-10-15",
    ),
];

impl Judge {
    /// Reads them from botocore's `data` folder.
    pub fn load(data: &Path) -> Result<Self, String> {
        let mut models = HashMap::new();
        let mut patterns = HashMap::new();
        for (service, folder) in MODELS {
            let path = data.join(folder).join("service-2.json.gz");
            let file =
                std::fs::File::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let model: Value = serde_json::from_reader(GzDecoder::new(file))
                .map_err(|e| format!("{}: {e}", path.display()))?;
            for shape in model["shapes"]
                .as_object()
                .into_iter()
                .flat_map(|s| s.values())
            {
                if let Some(pattern) = shape["pattern"].as_str() {
                    // Patterns of the models stand for the whole value.
                    let regex = Regex::new(&format!("^(?:{pattern})$"))
                        .map_err(|e| format!("{pattern}: {e}"))?;
                    patterns.insert(pattern.to_owned(), regex);
                }
            }
            models.insert(service, model);
        }
        Ok(Self { models, patterns })
    }

    /// The operation of a path of a REST service.
    pub fn operation_of_path(&self, service: &str, path: &str) -> Option<String> {
        let operations = self.models.get(service)?["operations"].as_object()?;
        let found = operations.iter().find(|(_, o)| {
            let uri = o["http"]["requestUri"].as_str().unwrap_or_default();
            uri == path
                || uri
                    .split_once('{')
                    .is_some_and(|(start, _)| path.starts_with(start))
        });
        found.map(|(name, _)| name.clone())
    }

    /// What is wrong with the input of the operation, in AWS's manner of speaking.
    pub fn validate(&self, service: &str, operation: &str, input: &Value) -> Result<(), String> {
        let model = &self.models[service];
        let shape = model["operations"][operation]["input"]["shape"].as_str();
        let Some(shape) = shape else {
            return Err(format!("unknown operation {operation}"));
        };
        self.check(&model["shapes"], shape, input, "input")
    }

    fn check(&self, shapes: &Value, name: &str, value: &Value, at: &str) -> Result<(), String> {
        let shape = &shapes[name];
        let size = |length: usize| -> Result<(), String> {
            let length = length as u64;
            match (shape["min"].as_u64(), shape["max"].as_u64()) {
                (Some(min), _) if length < min => Err(format!(
                    "Value at '{at}' failed to satisfy constraint: Member must have length \
                         greater than or equal to {min}"
                )),
                (_, Some(max)) if length > max => Err(format!(
                    "Value at '{at}' failed to satisfy constraint: Member must have length less \
                         than or equal to {max}"
                )),
                _ => Ok(()),
            }
        };
        let wrong = || {
            Err(format!(
                "Value at '{at}' is no {}",
                shape["type"].as_str().unwrap_or("shape")
            ))
        };
        match shape["type"].as_str() {
            Some("structure") => {
                let Some(object) = value.as_object() else {
                    return wrong();
                };
                for required in shape["required"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                {
                    if object.get(required).is_none_or(Value::is_null) {
                        return Err(format!(
                            "Value null at '{at}.{required}' failed to satisfy constraint: Member \
                                 must not be null"
                        ));
                    }
                }
                for (key, member) in object.iter().filter(|(_, m)| !m.is_null()) {
                    let Some(member_shape) = shape["members"][key]["shape"].as_str() else {
                        return Err(format!("Unknown member '{at}.{key}'"));
                    };
                    self.check(shapes, member_shape, member, &format!("{at}.{key}"))?;
                }
                Ok(())
            }
            Some("list") => {
                let Some(list) = value.as_array() else {
                    return wrong();
                };
                size(list.len())?;
                let member = shape["member"]["shape"].as_str().unwrap_or_default();
                list.iter().enumerate().try_for_each(|(i, v)| {
                    self.check(shapes, member, v, &format!("{at}.{}", i + 1))
                })
            }
            Some("map") => {
                let Some(map) = value.as_object() else {
                    return wrong();
                };
                size(map.len())?;
                let key = shape["key"]["shape"].as_str().unwrap_or_default();
                let member = shape["value"]["shape"].as_str().unwrap_or_default();
                map.iter().try_for_each(|(k, v)| {
                    self.check(shapes, key, &Value::String(k.clone()), &format!("{at}.key"))?;
                    self.check(shapes, member, v, &format!("{at}.{k}"))
                })
            }
            Some("string") => {
                let Some(text) = value.as_str() else {
                    return wrong();
                };
                size(text.chars().count())?;
                if let Some(allowed) = shape["enum"].as_array()
                    && !allowed.contains(value)
                {
                    return Err(format!(
                        "Value '{text}' at '{at}' failed to satisfy constraint: Member must \
                             satisfy enum value set"
                    ));
                }
                match shape["pattern"].as_str().and_then(|p| self.patterns.get(p)) {
                    Some(pattern) if !pattern.is_match(text) => Err(format!(
                        "Value '{text}' at '{at}' failed to satisfy constraint: Member must \
                             satisfy regular expression pattern: {pattern}"
                    )),
                    _ => Ok(()),
                }
            }
            Some("integer" | "long") => {
                let Some(number) = value.as_i64() else {
                    return wrong();
                };
                let within = shape["min"].as_i64().is_none_or(|m| number >= m)
                    && shape["max"].as_i64().is_none_or(|m| number <= m);
                if within {
                    Ok(())
                } else {
                    Err(format!("Value '{number}' at '{at}' is out of bounds"))
                }
            }
            Some("boolean") => {
                if value.is_boolean() {
                    Ok(())
                } else {
                    wrong()
                }
            }
            Some("timestamp") => {
                if value.is_number() {
                    Ok(())
                } else {
                    wrong()
                }
            }
            _ => Ok(()),
        }
    }
}
