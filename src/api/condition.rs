//! Condition types and reasons. Both are closed sets that users and tools may rely on; each member
//! declares its effect on events, on `Ready` and on kstatus.

use k8s_controller::conditions::{self, ConditionStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The kinds of objects that have conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A `RepoFanout`.
    Fanout,
    /// A `RepoFanoutClass`.
    Class,
}

/// The status that a condition has while all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// `True` while all is well.
    Positive,
    /// `True` while something is wrong.
    Negative,
}

/// The changes of a condition that cause an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// No change: another condition, or the delivery itself, causes the event.
    Never,
    /// A change of status or reason.
    Reason,
    /// A change of status, reason or message: the message names what is affected.
    Message,
}

/// Declaration of a condition type.
struct TypeDeclaration {
    kinds: &'static [Kind],
    polarity: Polarity,
    events: Events,
    decides_ready: bool,
}

/// How a condition with this reason goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// All is well, and nothing has to happen.
    Well,
    /// It is not known yet whether all is well.
    Open,
    /// Something is wrong and will pass: by itself, or by the one click that authorizes a
    /// connection.
    Passing,
    /// Something is wrong until a person fixes it.
    Final,
}

/// The type of the event that a reason causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// No event.
    Silent,
    /// A `Normal` event.
    Normal,
    /// A `Warning` event.
    Warning,
}

/// Declaration of a reason.
struct ReasonDeclaration {
    outlook: Outlook,
    severity: Severity,
}

/// Makes an enum whose variant names are the words of the API. A variant without a declaration does
/// not compile.
macro_rules! closed_set {
    (
        $(#[$about:meta])* $set:ident: $declaration:ident;
        $($(#[doc = $doc:literal])* $name:ident $declared:tt)*
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $set { $($(#[doc = $doc])* $name),* }

        impl $set {
            /// All variants, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word in the API.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// Parses the word in the API; `None` if this version does not know it.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }

            /// Its meaning, in a sentence.
            pub fn doc(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_start()),* }
            }

            fn declared(self) -> $declaration {
                match self { $(Self::$name => $declaration $declared),* }
            }
        }
    };
}

use Events::{Message, Never};
use Kind::{Class, Fanout};
use Outlook::{Final, Open, Passing, Well};
use Polarity::{Negative, Positive};
use Severity::{Normal, Silent, Warning};

closed_set! {
    /// The condition types. Causes come before their effects: the first condition that is not well
    /// explains `Ready`.
    ConditionType: TypeDeclaration;

    /// The object works: the next push reaches the bucket and is announced, or fan-outs may use the
    /// class.
    Ready { kinds: &[Fanout, Class], polarity: Positive, events: Never, decides_ready: false }
    /// A person has authorized the connection and the provider accepts it.
    ConnectionAvailable { kinds: &[Fanout, Class], polarity: Positive, events: Events::Reason, decides_ready: true }
    /// Everything in AWS matches the spec.
    Provisioned { kinds: &[Fanout, Class], polarity: Positive, events: Events::Reason, decides_ready: true }
    /// The bucket contains what the newest finished execution copied.
    Delivered { kinds: &[Fanout], polarity: Positive, events: Never, decides_ready: true }
    /// Somebody changed resources in AWS, and `drift: Detect` leaves the change in place.
    Drifted { kinds: &[Fanout], polarity: Negative, events: Message, decides_ready: false }
    /// Set with `destination.prune`: files that earlier deliveries left behind are deleted.
    Pruned { kinds: &[Fanout], polarity: Positive, events: Message, decides_ready: false }
    /// Set with `notifications.announce`: the last delivery was announced in the operator's own
    /// message format.
    Announced { kinds: &[Fanout], polarity: Positive, events: Events::Reason, decides_ready: false }
    /// Set with `notifications.subscribers`: every subscriber receives what is published.
    Subscribed { kinds: &[Fanout], polarity: Positive, events: Message, decides_ready: false }
    /// The account's quotas leave room for more fan-outs of the class.
    QuotaAvailable { kinds: &[Class], polarity: Positive, events: Events::Reason, decides_ready: false }
    /// kstatus: something still has to happen before the object is as desired.
    Reconciling { kinds: &[Fanout, Class], polarity: Negative, events: Never, decides_ready: false }
    /// kstatus: nothing changes until a person acts.
    Stalled { kinds: &[Fanout, Class], polarity: Negative, events: Events::Reason, decides_ready: false }
}

closed_set! {
    /// The reason for the status of a condition.
    Reason: ReasonDeclaration;

    /// A push was delivered, and the next one will be.
    Delivered { outlook: Well, severity: Normal }
    /// Everything is created, and nothing is in the bucket yet.
    NotYetDelivered { outlook: Open, severity: Silent }
    /// The newest finished execution failed.
    DeliveryFailed { outlook: Final, severity: Warning }
    /// The app at the provider may not read the repository.
    RepositoryNotAccessible { outlook: Final, severity: Warning }
    /// An execution runs for longer than its stage may take, and nothing is delivered until it ends.
    ExecutionStuck { outlook: Open, severity: Warning }
    /// An execution is due, and the operator has started as many by itself as it may.
    StartsExhausted { outlook: Final, severity: Warning }
    /// A person has to authorize the connection.
    ConnectionPending { outlook: Passing, severity: Normal }
    /// The provider rejects the connection. AWS retries by itself.
    ConnectionError { outlook: Passing, severity: Warning }
    /// The connection is authorized.
    ConnectionAvailable { outlook: Well, severity: Normal }
    /// Everything in AWS matches the spec.
    Provisioned { outlook: Well, severity: Normal }
    /// AWS differs from the spec, and `drift: Detect` leaves the difference in place.
    DriftDetected { outlook: Final, severity: Warning }
    /// AWS matches the spec.
    NoDrift { outlook: Well, severity: Silent }
    /// Files that are no longer in the repository were deleted.
    Pruned { outlook: Well, severity: Normal }
    /// Every file that a delivery put in the bucket is still in the repository.
    NothingToPrune { outlook: Well, severity: Silent }
    /// Files that are no longer in the repository were kept, because of `DryRun` or `--read-only`.
    PruneDryRun { outlook: Final, severity: Normal }
    /// More files would be deleted than `destination.pruneLimit` allows, so none was deleted.
    PruneLimited { outlook: Final, severity: Warning }
    /// There is no proof any more that a delivery put the files in the bucket.
    PruneUnproven { outlook: Final, severity: Warning }
    /// Files that are no longer in the repository could not be listed or could not be deleted.
    PruneFailed { outlook: Final, severity: Warning }
    /// The last delivery was announced in the operator's own message format.
    Announced { outlook: Well, severity: Silent }
    /// The last delivery could not be announced.
    AnnounceFailed { outlook: Final, severity: Warning }
    /// Every subscriber receives what is published.
    Subscribed { outlook: Well, severity: Normal }
    /// A subscriber has to confirm its subscription.
    SubscriptionPending { outlook: Passing, severity: Normal }
    /// A subscription could not be created, changed or removed.
    SubscribeFailed { outlook: Final, severity: Warning }
    /// `suspend` is set, and AWS is not observed.
    Suspended { outlook: Open, severity: Normal }
    /// An older object copies to the same keys.
    Overlaps { outlook: Final, severity: Warning }
    /// AWS resources are being created or changed.
    Provisioning { outlook: Passing, severity: Silent }
    /// A role that was just written is not yet known everywhere in AWS.
    IAMPropagating { outlook: Passing, severity: Normal }
    /// The account's first notification rule waits for its service-linked role.
    ServiceLinkedRoleCreating { outlook: Passing, severity: Normal }
    /// AWS throttles the operator's calls.
    Throttled { outlook: Passing, severity: Normal }
    /// AWS cannot be reached, or answered with an internal error.
    AWSUnavailable { outlook: Passing, severity: Normal }
    /// AWS could not send the last notification to a topic that is not the operator's to configure.
    TopicUnreachable { outlook: Open, severity: Warning }
    /// AWS could not be looked at for so long that nobody knows whether what was said still holds.
    NotObserved { outlook: Open, severity: Warning }
    /// A quota of the account is used up.
    QuotaExceeded { outlook: Final, severity: Warning }
    /// A connection may have been created, and its ARN is not known yet.
    ConnectionUnconfirmed { outlook: Passing, severity: Normal }
    /// The class does not exist, or has not created its shared resources yet.
    ClassNotReady { outlook: Passing, severity: Normal }
    /// Fan-outs still use the class that is to be deleted.
    InUse { outlook: Final, severity: Warning }
    /// The account's quotas leave room.
    QuotaAvailable { outlook: Well, severity: Silent }
    /// A quota of the account is nearly used up.
    QuotaLow { outlook: Final, severity: Warning }
    /// Resources that are no longer used are being deleted.
    CleaningUp { outlook: Passing, severity: Normal }
    /// The resource in AWS belongs to somebody else.
    NotOwned { outlook: Final, severity: Warning }
    /// The operator's settings do not allow what the spec asks for.
    NotAllowed { outlook: Final, severity: Warning }
    /// The spec contradicts itself or what AWS allows.
    InvalidSpec { outlook: Final, severity: Warning }
    /// AWS denies the operator a call that it needs.
    AccessDenied { outlook: Final, severity: Warning }
    /// An existing resource that the spec names does not exist.
    NotFound { outlook: Final, severity: Warning }
    /// The operator runs with `--read-only`, and a change is due in AWS.
    ReadOnly { outlook: Final, severity: Warning }
    /// Account, region or names differ from those that the resources were created with.
    PlacementChanged { outlook: Final, severity: Warning }
    /// The resources are being deleted.
    Deleting { outlook: Passing, severity: Normal }
    /// Something blocks the deletion.
    DeletionBlocked { outlook: Final, severity: Warning }
}

impl ConditionType {
    /// The types that objects of this kind have.
    pub fn of(kind: Kind) -> impl Iterator<Item = Self> {
        let all = Self::ALL.iter().copied();
        all.filter(move |type_| type_.declared().kinds.contains(&kind))
    }

    /// Which of its statuses is the good one.
    pub fn polarity(self) -> Polarity {
        self.declared().polarity
    }

    /// Which of its changes cause an event.
    pub fn events(self) -> Events {
        self.declared().events
    }

    /// Whether `Ready` depends on it.
    pub fn decides_ready(self) -> bool {
        self.declared().decides_ready
    }

    /// The status that the reason gives to a condition of this type.
    pub fn status(self, reason: Reason) -> ConditionStatus {
        match (self.polarity(), reason.outlook()) {
            (Positive, Well) => ConditionStatus::True,
            (Positive, Open) => ConditionStatus::Unknown,
            (Positive, Passing | Final) => ConditionStatus::False,
            (Negative, Well) => ConditionStatus::False,
            (Negative, Open | Passing | Final) => ConditionStatus::True,
        }
    }

    /// The condition of this type, if the object has it.
    pub fn find(self, conditions: &[Condition]) -> Option<&Condition> {
        conditions::find(conditions, self.as_str())
    }
}

impl Reason {
    /// How a condition with this reason goes on.
    pub fn outlook(self) -> Outlook {
        self.declared().outlook
    }

    /// The type of the event that the reason causes.
    pub fn severity(self) -> Severity {
        self.declared().severity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(of: impl Fn(Reason) -> bool) -> String {
        let all = Reason::ALL.iter().filter(|reason| of(**reason));
        let words: Vec<&str> = all.map(|reason| reason.as_str()).collect();
        words.join(" ")
    }

    #[test]
    fn every_reason_tells_what_becomes_of_its_condition() {
        let outlook = |outlook| reasons(|reason| reason.outlook() == outlook);
        assert_eq!(
            outlook(Well),
            "Delivered ConnectionAvailable Provisioned NoDrift Pruned NothingToPrune Announced \
             Subscribed QuotaAvailable"
        );
        assert_eq!(
            outlook(Open),
            "NotYetDelivered ExecutionStuck Suspended TopicUnreachable NotObserved"
        );
        assert_eq!(
            outlook(Passing),
            "ConnectionPending ConnectionError SubscriptionPending Provisioning IAMPropagating \
             ServiceLinkedRoleCreating Throttled AWSUnavailable ConnectionUnconfirmed \
             ClassNotReady CleaningUp Deleting"
        );
        assert_eq!(
            outlook(Final),
            "DeliveryFailed RepositoryNotAccessible StartsExhausted DriftDetected PruneDryRun \
             PruneLimited PruneUnproven PruneFailed AnnounceFailed SubscribeFailed Overlaps \
             QuotaExceeded InUse QuotaLow NotOwned NotAllowed InvalidSpec AccessDenied NotFound ReadOnly \
             PlacementChanged DeletionBlocked"
        );
    }

    #[test]
    fn every_reason_tells_what_event_it_is_worth() {
        let severity = |severity| reasons(|reason| reason.severity() == severity);
        assert_eq!(
            severity(Silent),
            "NotYetDelivered NoDrift NothingToPrune Announced Provisioning QuotaAvailable"
        );
        assert_eq!(
            severity(Normal),
            "Delivered ConnectionPending ConnectionAvailable Provisioned Pruned PruneDryRun \
             Subscribed SubscriptionPending Suspended IAMPropagating ServiceLinkedRoleCreating \
             Throttled AWSUnavailable ConnectionUnconfirmed ClassNotReady CleaningUp Deleting"
        );
        // All other reasons warn: those that only a person can fix, a provider that rejects the
        // connection, an execution that does not end, a topic out of reach, and AWS out of sight.
        for reason in Reason::ALL {
            let outlook = reason.outlook();
            match reason.severity() {
                Warning => assert!(
                    outlook == Final
                        || [
                            Reason::ConnectionError,
                            Reason::ExecutionStuck,
                            Reason::TopicUnreachable,
                            Reason::NotObserved,
                        ]
                        .contains(reason)
                ),
                Normal => assert!(outlook != Final || *reason == Reason::PruneDryRun),
                Silent => assert_ne!(outlook, Final, "{reason:?}"),
            }
        }
    }

    #[test]
    fn every_word_is_documented_and_read_back() {
        let words = Reason::ALL.iter().map(|r| (r.as_str(), r.doc()));
        let types = ConditionType::ALL.iter().map(|t| (t.as_str(), t.doc()));
        for (word, doc) in words.chain(types) {
            assert!(doc.ends_with('.') && doc.len() > 10, "{word}: {doc:?}");
            assert!(!doc.contains("  ") && doc.trim() == doc, "{word}: {doc:?}");
        }
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        for type_ in ConditionType::ALL {
            assert_eq!(ConditionType::parse(type_.as_str()), Some(*type_));
        }
        assert_eq!(Reason::parse("FromTomorrow"), None);
    }

    #[test]
    fn each_kind_has_its_conditions() {
        let of = |kind| {
            let words: Vec<&str> = ConditionType::of(kind).map(ConditionType::as_str).collect();
            words.join(" ")
        };
        assert_eq!(
            of(Fanout),
            "Ready ConnectionAvailable Provisioned Delivered Drifted Pruned Announced Subscribed \
             Reconciling Stalled"
        );
        assert_eq!(
            of(Class),
            "Ready ConnectionAvailable Provisioned QuotaAvailable Reconciling Stalled"
        );
    }

    #[test]
    fn a_status_follows_from_polarity_and_reason() {
        use ConditionStatus::{False, True, Unknown};
        for (type_, reason, status) in [
            (ConditionType::Ready, Reason::Delivered, True),
            (ConditionType::Ready, Reason::NotYetDelivered, Unknown),
            (ConditionType::Ready, Reason::ConnectionPending, False),
            (ConditionType::Ready, Reason::NotOwned, False),
            (ConditionType::Provisioned, Reason::Suspended, Unknown),
            (ConditionType::Drifted, Reason::NoDrift, False),
            (ConditionType::Drifted, Reason::DriftDetected, True),
            (ConditionType::Pruned, Reason::PruneDryRun, False),
            (ConditionType::Reconciling, Reason::NotYetDelivered, True),
            (ConditionType::Stalled, Reason::ClassNotReady, True),
        ] {
            assert_eq!(type_.status(reason), status, "{type_:?} {reason:?}");
        }
    }
}
