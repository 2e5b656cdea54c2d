//! The operator's own IAM statements, put together of what each resource needs.

use serde_json::Value;

use crate::domain::kind::Resource;
use crate::resource::scope::Scope;
use crate::resource::{
    bucket, connection, event_rule, notification_rule, pipeline, queue, role, service_linked_role,
    topic,
};

/// IAM statements of the operator for all resources.
pub fn statements(scope: &Scope) -> Vec<Value> {
    let all = Resource::ALL.into_iter();
    all.flat_map(|resource| of(resource, scope)).collect()
}

/// IAM statements of the operator for one resource.
fn of(resource: Resource, scope: &Scope) -> Vec<Value> {
    match resource {
        Resource::Artifacts => bucket::statements(scope),
        Resource::Destination => bucket::existing_statements(scope),
        Resource::Connection => connection::statements(scope),
        Resource::Topic => topic::statements(scope),
        Resource::Role => role::statements(scope),
        Resource::Pipeline => pipeline::statements(scope),
        Resource::ServiceLinkedRole => service_linked_role::statements(scope),
        Resource::NotificationRule => notification_rule::statements(scope),
        // They are part of the bucket's policy.
        Resource::Readers => Vec::new(),
        // Its name has the same prefix as that of the queue.
        Resource::DeadLetterQueue => Vec::new(),
        Resource::Queue => queue::statements(scope),
        Resource::EventRule => event_rule::statements(scope),
    }
}
