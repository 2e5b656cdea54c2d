//! Condition types and reasons: the closed sets that users and tools may rely on.

/// The condition types of a `RepoFanout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// The fan-out works: a push reaches the bucket and is announced.
    Ready,
    /// A person has authorized the connection and the provider accepts it.
    ConnectionAvailable,
    /// Everything in AWS is as the spec says.
    Provisioned,
    /// The bucket holds what the newest finished execution copied.
    Delivered,
    /// Somebody changed something behind the operator's back, and `drift: Detect` leaves it so.
    Drifted,
    /// Where `destination.prune` is set: what earlier deliveries left behind is deleted.
    Pruned,
    /// Where `notifications.announce` is set: the last delivery was announced in our own words.
    Announced,
    /// Where `notifications.subscribers` is set: all of them get what is published.
    Subscribed,
    /// Of a class: the account's quotas leave room for more fan-outs.
    QuotaAvailable,
    /// kstatus: something is still to happen before the object is as it should be.
    Reconciling,
    /// kstatus: nothing will happen until a person does something.
    Stalled,
}

impl ConditionType {
    /// The condition's `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::ConnectionAvailable => "ConnectionAvailable",
            Self::Provisioned => "Provisioned",
            Self::Delivered => "Delivered",
            Self::Drifted => "Drifted",
            Self::Pruned => "Pruned",
            Self::Announced => "Announced",
            Self::Subscribed => "Subscribed",
            Self::QuotaAvailable => "QuotaAvailable",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Why a condition has its status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name),* }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The condition's `reason`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

reasons! {
    /// A push was delivered and the next one will be.
    Delivered,
    /// Everything is made, nothing is in the bucket yet.
    NotYetDelivered,
    /// The newest finished execution failed.
    DeliveryFailed,
    /// The provider's app may not read the repository.
    RepositoryNotAccessible,
    /// A person has to authorize the connection.
    ConnectionPending,
    /// The provider refuses the connection; AWS tries again by itself.
    ConnectionError,
    /// The connection is authorized.
    ConnectionAvailable,
    /// Everything in AWS is as the spec says.
    Provisioned,
    /// AWS differs from the spec, and `drift: Detect` leaves it so.
    DriftDetected,
    /// AWS is as the spec says.
    NoDrift,
    /// Files that are no longer in the repository were deleted.
    Pruned,
    /// Every file that a delivery put there is in the repository.
    NothingToPrune,
    /// Files that are no longer in the repository would be deleted, were it not for `DryRun` or
    /// `--read-only`.
    PruneDryRun,
    /// More files would be deleted than `destination.pruneLimit` lets go at once.
    PruneLimited,
    /// It cannot be proved any more that a delivery put them there.
    PruneUnproven,
    /// What is no longer in the repository could not be found, or not be deleted.
    PruneFailed,
    /// The last delivery was announced in our own words.
    Announced,
    /// The last delivery could not be announced.
    AnnounceFailed,
    /// All subscribers get what is published.
    Subscribed,
    /// A subscriber has to confirm.
    SubscriptionPending,
    /// A subscription could not be made, changed or ended.
    SubscribeFailed,
    /// `suspend` is set: AWS is not looked at.
    Suspended,
    /// Another, older object copies to the same keys.
    Overlaps,
    /// AWS resources are being made or changed.
    Provisioning,
    /// A role that was just written is not yet known to all of AWS.
    IAMPropagating,
    /// The account's first notification rule waits for its service-linked role.
    ServiceLinkedRoleCreating,
    /// AWS asks for fewer calls.
    Throttled,
    /// AWS cannot be reached or answered with an error of its own.
    AWSUnavailable,
    /// A quota of the account is used up.
    QuotaExceeded,
    /// A connection may have been made whose ARN is not known yet.
    ConnectionUnconfirmed,
    /// The class does not exist, or has not made yet what it shares.
    ClassNotReady,
    /// Fan-outs still use the class that is to be deleted.
    InUse,
    /// The account's quotas leave room.
    QuotaAvailable,
    /// A quota of the account is nearly used up.
    QuotaLow,
    /// What is not used any more is being deleted.
    CleaningUp,
    /// The resource in AWS belongs to somebody else.
    NotOwned,
    /// The operator's settings do not allow what the spec asks for.
    NotAllowed,
    /// The spec contradicts itself or what AWS allows.
    InvalidSpec,
    /// The operator may not do what it has to.
    AccessDenied,
    /// An existing resource that the spec names is not there.
    NotFound,
    /// The operator runs with `--read-only`, and something would have to be written.
    ReadOnly,
    /// Account, region or names would be others than those the resources were made with.
    PlacementChanged,
    /// The resources are being deleted.
    Deleting,
    /// Something holds up the deletion.
    DeletionBlocked,
}
