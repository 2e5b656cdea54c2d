//! The Kubernetes events of a transition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::class::RepoFanoutClassStatus;
use crate::api::condition::{ConditionType, Reason};
use crate::api::status::RepoFanoutStatus;
use crate::state::live_object::Transition;
use crate::state::recorder::Notice;
use crate::status::find;

/// The events of a change of conditions; none where nothing changed for the reader.
pub fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Notice> {
    let mut notices = Vec::new();
    let types = [
        ConditionType::ConnectionAvailable,
        ConditionType::Provisioned,
        ConditionType::Drifted,
        ConditionType::Pruned,
        ConditionType::Announced,
        ConditionType::Subscribed,
        ConditionType::QuotaAvailable,
        ConditionType::Stalled,
    ];
    for type_ in types {
        // Of drift and of pruning, what it is about is the news.
        let detailed = matches!(
            type_,
            ConditionType::Drifted | ConditionType::Pruned | ConditionType::Subscribed
        );
        let text = |c: &Condition| {
            if detailed {
                c.message.clone()
            } else {
                String::new()
            }
        };
        let key =
            |s: &[Condition]| find(s, type_).map(|c| (c.status.clone(), c.reason.clone(), text(c)));
        let (was, is) = (key(before), key(after));
        let Some(condition) = find(after, type_).filter(|_| was != is) else {
            continue;
        };
        // Stalled repeats what Provisioned says; one event for both, and as a warning.
        let repeats =
            type_ == ConditionType::Provisioned && find(after, ConditionType::Stalled).is_some();
        let no_news = [
            Reason::Provisioning,
            Reason::NoDrift,
            Reason::QuotaAvailable,
            Reason::NothingToPrune,
            Reason::Announced,
        ]
        .map(Reason::as_str);
        let waits = no_news.contains(&&*condition.reason);
        if repeats || waits {
            continue;
        }
        notices.push(Notice {
            warning: matches!(type_, ConditionType::Stalled | ConditionType::Drifted)
                || [
                    Reason::ConnectionError,
                    Reason::QuotaLow,
                    Reason::PruneLimited,
                    Reason::PruneUnproven,
                    Reason::PruneFailed,
                    Reason::AnnounceFailed,
                    Reason::SubscribeFailed,
                ]
                .map(Reason::as_str)
                .contains(&&*condition.reason),
            reason: condition.reason.clone(),
            note: condition.message.clone(),
        });
    }
    notices
}

/// The events of a fan-out's transition.
pub fn notices(before: &RepoFanoutStatus, after: &RepoFanoutStatus) -> Vec<Notice> {
    let mut notices = transitions(&before.conditions, &after.conditions);
    let execution = |s: &RepoFanoutStatus| s.delivered.as_ref().map(|d| d.execution.clone());
    if execution(after).is_some() && execution(before) != execution(after) {
        let d = after.delivered.as_ref().expect("just checked");
        let commit = d.commit.as_ref().map_or("a commit", |c| &*c.short_id);
        notices.push(Notice {
            warning: false,
            reason: Reason::Delivered.as_str().to_owned(),
            note: format!(
                "delivered {commit} of {} branch {} to s3://{}/{}",
                d.repository, d.branch, d.bucket, d.prefix
            ),
        });
    }
    let failed = |s: &RepoFanoutStatus| {
        s.last_execution
            .as_ref()
            .filter(|e| e.failure.is_some())
            .map(|e| e.id.clone())
    };
    if failed(after).is_some()
        && failed(before) != failed(after)
        && let Some(condition) =
            find(&after.conditions, ConditionType::Delivered).filter(|c| c.status == "False")
    {
        notices.push(Notice {
            warning: true,
            reason: condition.reason.clone(),
            note: condition.message.clone(),
        });
    }
    notices
}

impl Transition for RepoFanoutStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn notices(&self, next: &Self) -> Vec<Notice> {
        notices(self, next)
    }
}

impl Transition for RepoFanoutClassStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn notices(&self, next: &Self) -> Vec<Notice> {
        transitions(&self.conditions, &next.conditions)
    }
}
