//! The Kubernetes events of a transition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::class::RepoFanoutClassStatus;
use crate::api::condition::{ConditionType, Events, Polarity, Reason, Severity};
use crate::api::status::RepoFanoutStatus;
use crate::state::live_object::Transition;
use crate::state::recorder::Notice;
use crate::status::verdict::Verdict;

/// The events of a change of conditions; none if nothing changed for the reader.
pub fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Notice> {
    let news = |&type_: &ConditionType| transition(type_, before, after);
    ConditionType::ALL.iter().filter_map(news).collect()
}

fn transition(type_: ConditionType, before: &[Condition], after: &[Condition]) -> Option<Notice> {
    let now = type_.find(after)?;
    let same = type_.find(before).is_some_and(|was| {
        let same_reason = was.status == now.status && was.reason == now.reason;
        match type_.events() {
            Events::Never => true,
            Events::Reason => same_reason,
            Events::Message => same_reason && was.message == now.message,
        }
    });
    // Stalled repeats Provisioned: both get one event, a warning.
    let repeats =
        type_ == ConditionType::Provisioned && ConditionType::Stalled.find(after).is_some();
    if same || repeats || type_.events() == Events::Never {
        return None;
    }
    let verdict = Verdict::of(now, type_);
    let abnormal = type_.polarity() == Polarity::Negative && now.status == "True";
    let warning = match verdict.reason.severity() {
        Severity::Silent => return None,
        Severity::Normal => abnormal,
        Severity::Warning => true,
    };
    Some(Notice {
        warning,
        reason: now.reason.clone(),
        note: now.message.clone(),
    })
}

/// The events of a fan-out's transition.
pub fn notices(before: &RepoFanoutStatus, after: &RepoFanoutStatus) -> Vec<Notice> {
    let mut notices = transitions(&before.conditions, &after.conditions);
    notices.extend(delivery(before, after));
    notices.extend(failure(before, after));
    notices.extend(standstill(before, after));
    notices
}

/// A standstill of the deliveries gets an event when it begins.
fn standstill(before: &RepoFanoutStatus, after: &RepoFanoutStatus) -> Option<Notice> {
    let standstills = [Reason::ExecutionStuck, Reason::StartsExhausted].map(Reason::as_str);
    let now = ConditionType::Delivered.find(&after.conditions)?;
    let was = ConditionType::Delivered.find(&before.conditions);
    let news = was.is_none_or(|was| was.reason != now.reason);
    (news && standstills.contains(&&*now.reason)).then(|| Notice {
        warning: true,
        reason: now.reason.clone(),
        note: now.message.clone(),
    })
}

/// Each delivery gets an event, although the condition stays the same.
fn delivery(before: &RepoFanoutStatus, after: &RepoFanoutStatus) -> Option<Notice> {
    let now = after.delivered.as_ref()?;
    let was = before.delivered.as_ref();
    let commit = now.commit.as_ref().map_or("a commit", |c| &*c.short_id);
    was.is_none_or(|was| was.execution != now.execution)
        .then(|| Notice {
            warning: false,
            reason: Reason::Delivered.as_str().to_owned(),
            note: format!(
                "delivered {commit} of {} branch {} to s3://{}/{}",
                now.repository, now.branch, now.bucket, now.prefix
            ),
        })
}

/// Each failed execution gets an event, although the condition stays the same.
fn failure(before: &RepoFanoutStatus, after: &RepoFanoutStatus) -> Option<Notice> {
    let failed = |status: &RepoFanoutStatus| {
        let last = status.last_execution.as_ref()?;
        last.failure.as_ref().map(|_| last.id.clone())
    };
    let now = failed(after)?;
    let condition = ConditionType::Delivered.find(&after.conditions)?;
    let news = failed(before) != Some(now) && condition.status == "False";
    news.then(|| Notice {
        warning: true,
        reason: condition.reason.clone(),
        note: condition.message.clone(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::{DeliveredStatus, ExecutionStatus, FailureStatus};

    fn conditions(all: &[(ConditionType, Reason)]) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (type_, reason) in all {
            Verdict::new(*type_, *reason, "one").set(&mut conditions, Some(1));
        }
        conditions
    }

    /// The type of the event and its reason, such as `Warning/NotOwned`; `-` where there is none.
    fn events(before: &[Condition], after: &[Condition]) -> String {
        let event = |notice: Notice| {
            let type_ = if notice.warning { "Warning" } else { "Normal" };
            format!("{type_}/{}", notice.reason)
        };
        let all: Vec<String> = transitions(before, after).into_iter().map(event).collect();
        match &*all {
            [] => "-".to_owned(),
            all => all.join(" "),
        }
    }

    #[test]
    fn a_transition_is_told_once_and_by_its_severity() {
        use ConditionType::{
            Announced, ConnectionAvailable, Delivered, Drifted, Provisioned, Pruned,
            QuotaAvailable, Ready, Reconciling, Stalled, Subscribed,
        };
        for (type_, reason, expected) in [
            (Ready, Reason::NotOwned, "-"),
            (Ready, Reason::Delivered, "-"),
            (
                ConnectionAvailable,
                Reason::ConnectionPending,
                "Normal/ConnectionPending",
            ),
            (
                ConnectionAvailable,
                Reason::ConnectionError,
                "Warning/ConnectionError",
            ),
            (
                ConnectionAvailable,
                Reason::ConnectionAvailable,
                "Normal/ConnectionAvailable",
            ),
            (Provisioned, Reason::Provisioned, "Normal/Provisioned"),
            (Provisioned, Reason::Provisioning, "-"),
            (Provisioned, Reason::Throttled, "Normal/Throttled"),
            (Provisioned, Reason::Suspended, "Normal/Suspended"),
            (Delivered, Reason::DeliveryFailed, "-"),
            (Delivered, Reason::ExecutionStuck, "-"),
            (Drifted, Reason::NoDrift, "-"),
            (Drifted, Reason::DriftDetected, "Warning/DriftDetected"),
            (Pruned, Reason::Pruned, "Normal/Pruned"),
            (Pruned, Reason::NothingToPrune, "-"),
            (Pruned, Reason::PruneDryRun, "Normal/PruneDryRun"),
            (Pruned, Reason::PruneLimited, "Warning/PruneLimited"),
            (Announced, Reason::Announced, "-"),
            (Announced, Reason::AnnounceFailed, "Warning/AnnounceFailed"),
            (Subscribed, Reason::Subscribed, "Normal/Subscribed"),
            (
                Subscribed,
                Reason::SubscriptionPending,
                "Normal/SubscriptionPending",
            ),
            (QuotaAvailable, Reason::QuotaAvailable, "-"),
            (QuotaAvailable, Reason::QuotaLow, "Warning/QuotaLow"),
            (Reconciling, Reason::Throttled, "-"),
            (Stalled, Reason::NotOwned, "Warning/NotOwned"),
            (Stalled, Reason::ClassNotReady, "Warning/ClassNotReady"),
        ] {
            let after = conditions(&[(type_, reason)]);
            assert_eq!(events(&[], &after), expected, "{type_:?} {reason:?}");
            assert_eq!(events(&after, &after), "-");
            assert_eq!(events(&after, &[]), "-", "what is gone is no news");
        }
    }

    #[test]
    fn what_stalls_an_object_is_told_once() {
        let before = conditions(&[(ConditionType::Provisioned, Reason::Provisioned)]);
        let after = conditions(&[
            (ConditionType::Provisioned, Reason::NotOwned),
            (ConditionType::Stalled, Reason::NotOwned),
        ]);
        assert_eq!(events(&before, &after), "Warning/NotOwned");
        assert_eq!(events(&after, &before), "Normal/Provisioned");
    }

    #[test]
    fn another_message_is_news_where_it_names_what_is_concerned() {
        for type_ in ConditionType::ALL {
            let before = conditions(&[(*type_, Reason::QuotaLow)]);
            let mut after = before.clone();
            after[0].message = "two".to_owned();
            let expected = match type_.events() {
                Events::Message => "Warning/QuotaLow",
                Events::Never | Events::Reason => "-",
            };
            assert_eq!(events(&before, &after), expected, "{type_:?}");
        }
    }

    #[test]
    fn a_standstill_is_told_when_it_begins() {
        let with = |reason| RepoFanoutStatus {
            conditions: conditions(&[(ConditionType::Delivered, reason)]),
            ..RepoFanoutStatus::default()
        };
        let well = with(Reason::NotYetDelivered);
        for reason in [Reason::ExecutionStuck, Reason::StartsExhausted] {
            let told = notices(&well, &with(reason));
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].warning && told[0].reason == reason.as_str());
            assert_eq!(notices(&with(reason), &with(reason)), []);
            assert_eq!(notices(&with(reason), &well), []);
        }
    }

    #[test]
    fn each_delivery_and_each_failed_execution_is_told_once() {
        let none = RepoFanoutStatus::default();
        let delivered = |execution: &str| RepoFanoutStatus {
            delivered: Some(DeliveredStatus {
                execution: execution.to_owned(),
                repository: "acme/docs".to_owned(),
                branch: "main".to_owned(),
                bucket: "b".to_owned(),
                prefix: "p".to_owned(),
                ..DeliveredStatus::default()
            }),
            ..RepoFanoutStatus::default()
        };
        let event = |warning, reason: Reason, note: &str| Notice {
            warning,
            reason: reason.as_str().to_owned(),
            note: note.to_owned(),
        };
        let note = "delivered a commit of acme/docs branch main to s3://b/p";
        let news = vec![event(false, Reason::Delivered, note)];
        assert_eq!(notices(&none, &delivered("e1")), news);
        assert_eq!(notices(&delivered("e1"), &delivered("e2")), news);
        assert_eq!(notices(&delivered("e1"), &delivered("e1")), []);

        let failed = |execution: &str| RepoFanoutStatus {
            last_execution: Some(ExecutionStatus {
                id: execution.to_owned(),
                failure: Some(Box::new(FailureStatus::default())),
                ..ExecutionStatus::default()
            }),
            conditions: conditions(&[(ConditionType::Delivered, Reason::DeliveryFailed)]),
            ..RepoFanoutStatus::default()
        };
        let news = vec![event(true, Reason::DeliveryFailed, "one")];
        assert_eq!(notices(&none, &failed("e1")), news);
        assert_eq!(notices(&failed("e1"), &failed("e2")), news);
        assert_eq!(notices(&failed("e1"), &failed("e1")), []);
    }
}
