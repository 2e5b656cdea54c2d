//! Condition types and reasons: the closed sets that users and tools may rely on, each with what it
//! means for events, for `Ready` and for kstatus.

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

/// What a condition says while all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// `True` while all is well.
    Positive,
    /// `True` while something is not as it should be.
    Negative,
}

/// Which changes of a condition are worth an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// None: another condition, or the delivery itself, has the event.
    Never,
    /// Another status or another reason.
    Reason,
    /// Another message, too: it names what is concerned.
    Message,
}

/// What is declared of a condition type.
struct TypeDeclaration {
    kinds: &'static [Kind],
    polarity: Polarity,
    events: Events,
    decides_ready: bool,
}

/// What becomes of a condition that has a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// All is well, and nothing has to happen.
    Well,
    /// It cannot be known yet whether all is well.
    Open,
    /// Something is amiss and passes: by itself, or by the one click that authorizes a connection.
    Passing,
    /// Something is amiss until a person mends it.
    Final,
}

/// What kind of event a reason is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// None at all: it is no news.
    Silent,
    /// A `Normal` one.
    Normal,
    /// A `Warning`.
    Warning,
}

/// What is declared of a reason.
struct ReasonDeclaration {
    outlook: Outlook,
    severity: Severity,
}

/// An enum whose names are the API's words. A variant without its declaration does not compile.
macro_rules! closed_set {
    (
        $(#[$about:meta])* $set:ident: $declaration:ident;
        $($(#[doc = $doc:literal])* $name:ident $declared:tt)*
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $set { $($(#[doc = $doc])* $name),* }

        impl $set {
            /// All of them, in the order in which they are declared.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word in the API.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// From the word in the API; none if this version does not know it.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }

            /// What it means, in a sentence.
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
    /// The condition types, each kind's causes before their effects: the first one that is not well
    /// explains `Ready`.
    ConditionType: TypeDeclaration;

    /// The object works: a push reaches the bucket and is announced; fan-outs may use the class.
    Ready { kinds: &[Fanout, Class], polarity: Positive, events: Never, decides_ready: false }
    /// A person has authorized the connection and the provider accepts it.
    ConnectionAvailable { kinds: &[Fanout, Class], polarity: Positive, events: Events::Reason, decides_ready: true }
    /// Everything in AWS is as the spec says.
    Provisioned { kinds: &[Fanout, Class], polarity: Positive, events: Events::Reason, decides_ready: true }
    /// The bucket holds what the newest finished execution copied.
    Delivered { kinds: &[Fanout], polarity: Positive, events: Never, decides_ready: true }
    /// Somebody changed something behind the operator's back, and `drift: Detect` leaves it so.
    Drifted { kinds: &[Fanout], polarity: Negative, events: Message, decides_ready: false }
    /// Where `destination.prune` is set: what earlier deliveries left behind is deleted.
    Pruned { kinds: &[Fanout], polarity: Positive, events: Message, decides_ready: false }
    /// Where `notifications.announce` is set: the last delivery was announced in our own words.
    Announced { kinds: &[Fanout], polarity: Positive, events: Events::Reason, decides_ready: false }
    /// Where `notifications.subscribers` is set: all of them get what is published.
    Subscribed { kinds: &[Fanout], polarity: Positive, events: Message, decides_ready: false }
    /// The account's quotas leave room for more fan-outs of the class.
    QuotaAvailable { kinds: &[Class], polarity: Positive, events: Events::Reason, decides_ready: false }
    /// kstatus: something is still to happen before the object is as it should be.
    Reconciling { kinds: &[Fanout, Class], polarity: Negative, events: Never, decides_ready: false }
    /// kstatus: nothing will happen until a person does something.
    Stalled { kinds: &[Fanout, Class], polarity: Negative, events: Events::Reason, decides_ready: false }
}

closed_set! {
    /// Why a condition has its status.
    Reason: ReasonDeclaration;

    /// A push was delivered and the next one will be.
    Delivered { outlook: Well, severity: Normal }
    /// Everything is made, nothing is in the bucket yet.
    NotYetDelivered { outlook: Open, severity: Silent }
    /// The newest finished execution failed.
    DeliveryFailed { outlook: Final, severity: Warning }
    /// The provider's app may not read the repository.
    RepositoryNotAccessible { outlook: Final, severity: Warning }
    /// A person has to authorize the connection.
    ConnectionPending { outlook: Passing, severity: Normal }
    /// The provider refuses the connection; AWS tries again by itself.
    ConnectionError { outlook: Passing, severity: Warning }
    /// The connection is authorized.
    ConnectionAvailable { outlook: Well, severity: Normal }
    /// Everything in AWS is as the spec says.
    Provisioned { outlook: Well, severity: Normal }
    /// AWS differs from the spec, and `drift: Detect` leaves it so.
    DriftDetected { outlook: Final, severity: Warning }
    /// AWS is as the spec says.
    NoDrift { outlook: Well, severity: Silent }
    /// Files that are no longer in the repository were deleted.
    Pruned { outlook: Well, severity: Normal }
    /// Every file that a delivery put there is in the repository.
    NothingToPrune { outlook: Well, severity: Silent }
    /// Files that are no longer in the repository would be deleted, were it not for `DryRun` or
    /// `--read-only`.
    PruneDryRun { outlook: Final, severity: Normal }
    /// More files would be deleted than `destination.pruneLimit` lets go at once.
    PruneLimited { outlook: Final, severity: Warning }
    /// It cannot be proved any more that a delivery put them there.
    PruneUnproven { outlook: Final, severity: Warning }
    /// What is no longer in the repository could not be found, or not be deleted.
    PruneFailed { outlook: Final, severity: Warning }
    /// The last delivery was announced in our own words.
    Announced { outlook: Well, severity: Silent }
    /// The last delivery could not be announced.
    AnnounceFailed { outlook: Final, severity: Warning }
    /// All subscribers get what is published.
    Subscribed { outlook: Well, severity: Normal }
    /// A subscriber has to confirm.
    SubscriptionPending { outlook: Passing, severity: Normal }
    /// A subscription could not be made, changed or ended.
    SubscribeFailed { outlook: Final, severity: Warning }
    /// `suspend` is set: AWS is not looked at.
    Suspended { outlook: Open, severity: Normal }
    /// Another, older object copies to the same keys.
    Overlaps { outlook: Final, severity: Warning }
    /// AWS resources are being made or changed.
    Provisioning { outlook: Passing, severity: Silent }
    /// A role that was just written is not yet known to all of AWS.
    IAMPropagating { outlook: Passing, severity: Normal }
    /// The account's first notification rule waits for its service-linked role.
    ServiceLinkedRoleCreating { outlook: Passing, severity: Normal }
    /// AWS asks for fewer calls.
    Throttled { outlook: Passing, severity: Normal }
    /// AWS cannot be reached or answered with an error of its own.
    AWSUnavailable { outlook: Passing, severity: Normal }
    /// A quota of the account is used up.
    QuotaExceeded { outlook: Final, severity: Warning }
    /// A connection may have been made whose ARN is not known yet.
    ConnectionUnconfirmed { outlook: Passing, severity: Normal }
    /// The class does not exist, or has not made yet what it shares.
    ClassNotReady { outlook: Passing, severity: Normal }
    /// Fan-outs still use the class that is to be deleted.
    InUse { outlook: Final, severity: Warning }
    /// The account's quotas leave room.
    QuotaAvailable { outlook: Well, severity: Silent }
    /// A quota of the account is nearly used up.
    QuotaLow { outlook: Final, severity: Warning }
    /// What is not used any more is being deleted.
    CleaningUp { outlook: Passing, severity: Normal }
    /// The resource in AWS belongs to somebody else.
    NotOwned { outlook: Final, severity: Warning }
    /// The operator's settings do not allow what the spec asks for.
    NotAllowed { outlook: Final, severity: Warning }
    /// The spec contradicts itself or what AWS allows.
    InvalidSpec { outlook: Final, severity: Warning }
    /// The operator may not do what it has to.
    AccessDenied { outlook: Final, severity: Warning }
    /// An existing resource that the spec names is not there.
    NotFound { outlook: Final, severity: Warning }
    /// The operator runs with `--read-only`, and something would have to be written.
    ReadOnly { outlook: Final, severity: Warning }
    /// Account, region or names would be others than those the resources were made with.
    PlacementChanged { outlook: Final, severity: Warning }
    /// The resources are being deleted.
    Deleting { outlook: Passing, severity: Normal }
    /// Something holds up the deletion.
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

    /// Which of its changes are worth an event.
    pub fn events(self) -> Events {
        self.declared().events
    }

    /// Whether `Ready` rests on it.
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
    /// What becomes of a condition that has it.
    pub fn outlook(self) -> Outlook {
        self.declared().outlook
    }

    /// What kind of event it is worth.
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
        assert_eq!(outlook(Open), "NotYetDelivered Suspended");
        assert_eq!(
            outlook(Passing),
            "ConnectionPending ConnectionError SubscriptionPending Provisioning IAMPropagating \
             ServiceLinkedRoleCreating Throttled AWSUnavailable ConnectionUnconfirmed \
             ClassNotReady CleaningUp Deleting"
        );
        assert_eq!(
            outlook(Final),
            "DeliveryFailed RepositoryNotAccessible DriftDetected PruneDryRun PruneLimited \
             PruneUnproven PruneFailed AnnounceFailed SubscribeFailed Overlaps QuotaExceeded \
             InUse QuotaLow NotOwned NotAllowed InvalidSpec AccessDenied NotFound ReadOnly \
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
        // The rest warns: what only a person can mend, and a provider that refuses.
        for reason in Reason::ALL {
            let outlook = reason.outlook();
            match reason.severity() {
                Warning => assert!(outlook == Final || *reason == Reason::ConnectionError),
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
