//! Objects and classes for tests, from their specs as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::RepoFanout;
use crate::domain::refusal::Refusal;
use crate::domain::settings::{Identity, Settings};
use crate::spec::class::Class;
use crate::spec::fanout::Fanout;
use crate::spec::policy::Policy;

/// Class `acme` of account 111122223333, eu-west-1.
pub fn class(spec: Value) -> Result<Class, Refusal> {
    let object = json!({
        "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanoutClass",
        "metadata": {"name": "acme"}, "spec": spec,
    });
    let identity = Identity {
        account: "111122223333".into(),
        partition: "aws".into(),
        arn: "arn:aws:iam::111122223333:user/operator".into(),
    };
    let object = serde_json::from_value(object).unwrap();
    Class::parse(&object, &Settings::example(), &identity)
}

/// A class with these fields that namespace team may use for any repository.
pub fn open_class(fields: Value) -> Class {
    let mut spec = json!({"allowedNamespaces": {"names": ["team"]}, "allowedRepositories": ["*"]});
    let (Value::Object(all), Value::Object(fields)) = (&mut spec, fields) else {
        panic!("fields of a class");
    };
    all.extend(fields);
    class(spec).unwrap()
}

/// Object team/docs.
pub fn object(spec: Value) -> RepoFanout {
    serde_json::from_value(json!({
        "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanout",
        "metadata": {"name": "docs", "namespace": "team", "uid": "u"}, "spec": spec,
    }))
    .unwrap()
}

/// Parses object team/docs under these settings and this class.
pub fn parse(spec: Value, settings: &Settings, class: Option<&Class>) -> Result<Fanout, Refusal> {
    let labels = &BTreeMap::new();
    let policy = Policy {
        settings,
        class,
        labels,
    };
    Fanout::parse(&object(spec), &policy)
}

/// Settings that allow everything.
pub fn open() -> Settings {
    Settings {
        allow_names: true,
        allow_existing: vec!["*".into()],
        allow_readers: vec!["*".into()],
        allow_prune: true,
        ..Settings::example()
    }
}
