//! The quotas of AWS that the operator's resources count against.

use crate::domain::placement::Placement;

/// A quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The calls that it refuses, by their beginning.
    calls: &'static str,
    /// What it limits.
    pub what: &'static str,
    /// AWS's default, where a page of AWS says one.
    pub limit: Option<i32>,
    /// Where it is raised.
    pub raise: Raise,
}

/// Where a quota is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raise {
    /// In Service Quotas, under this code of a service.
    ServiceQuotas(&'static str),
    /// The same, in the partition's first region: the service has one endpoint for all regions.
    GlobalServiceQuotas(&'static str),
    /// Nowhere.
    Never,
}

/// Connections per account and region.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/limits-connections.html>
pub const CONNECTIONS: Quota = Quota {
    calls: "codestar-connections:CreateConnection",
    what: "connections per account and region",
    limit: Some(250),
    raise: Raise::ServiceQuotas("codeconnections"),
};

/// Notification rules per account.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/limits-notifications.html>
pub const NOTIFICATION_RULES: Quota = Quota {
    calls: "codestar-notifications:CreateNotificationRule",
    what: "notification rules per account (10 per pipeline)",
    limit: Some(1000),
    raise: Raise::Never,
};

/// Pipelines per account and region.
/// <https://docs.aws.amazon.com/general/latest/gr/codepipeline.html>
pub const PIPELINES: Quota = Quota {
    calls: "codepipeline:CreatePipeline",
    what: "pipelines per account and region",
    limit: Some(1000),
    raise: Raise::ServiceQuotas("codepipeline"),
};

/// Roles per account.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
pub const ROLES: Quota = Quota {
    calls: "iam:CreateRole",
    what: "roles per account",
    limit: Some(1000),
    raise: Raise::GlobalServiceQuotas("iam"),
};

/// All of them.
const ALL: [Quota; 9] = [
    CONNECTIONS,
    NOTIFICATION_RULES,
    PIPELINES,
    ROLES,
    // <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
    Quota {
        calls: "iam:PutRolePolicy",
        what: "characters for all inline policies of a role",
        limit: Some(10_240),
        raise: Raise::Never,
    },
    // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/BucketRestrictions.html>
    Quota {
        calls: "s3:CreateBucket",
        what: "buckets per account",
        limit: Some(10_000),
        raise: Raise::GlobalServiceQuotas("s3"),
    },
    // <https://docs.aws.amazon.com/general/latest/gr/sns.html>
    Quota {
        calls: "sns:CreateTopic",
        what: "topics per account and region",
        limit: Some(100_000),
        raise: Raise::ServiceQuotas("sns"),
    },
    Quota {
        calls: "sns:S",
        what: "subscriptions, or filter policies, of a topic and an account",
        limit: None,
        raise: Raise::ServiceQuotas("sns"),
    },
    // <https://docs.aws.amazon.com/general/latest/gr/ev.html>
    Quota {
        calls: "events:Put",
        what: "rules per event bus (and 5 targets per rule)",
        limit: Some(300),
        raise: Raise::ServiceQuotas("events"),
    },
];

impl Quota {
    /// The quota that refuses this call; none if it is not known.
    pub fn of(call: &str) -> Option<Self> {
        ALL.into_iter().find(|quota| call.starts_with(quota.calls))
    }

    /// The quota in a sentence, with where it is raised for what lies there.
    pub fn advice(&self, place: Option<&Placement>) -> String {
        let Self { what, limit, .. } = self;
        let allowed = match limit {
            Some(limit) => format!("AWS allows {limit} {what} by default"),
            None => format!("AWS limits the number of {what}"),
        };
        let raise = |service, is_global| match place {
            Some(place) => format!(
                "request a higher quota for account {} at {}",
                place.account,
                place.quotas_url(service, is_global)
            ),
            None => "request a higher quota in Service Quotas".to_owned(),
        };
        let raise = match self.raise {
            Raise::ServiceQuotas(service) => raise(service, false),
            Raise::GlobalServiceQuotas(service) => raise(service, true),
            Raise::Never => "use another account, because AWS does not raise it".to_owned(),
        };
        format!("{allowed}: delete what is not needed, or {raise}")
    }
}
