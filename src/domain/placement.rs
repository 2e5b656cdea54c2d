//! The placement of an object's resources: decided once, then kept.

use crate::api::condition::Reason;
use crate::api::status::PlacementStatus;
use crate::domain::arn::Arn;
use crate::domain::names;
use crate::domain::owner::Owner;
use crate::domain::refusal::{Refusal, invalid};
use crate::domain::settings::{AssumeRole, Identity};

/// Account, region and names of an object's resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The AWS account, twelve digits.
    pub account: String,
    /// The AWS partition.
    pub partition: String,
    /// The AWS region.
    pub region: String,
    /// The class, if there is one.
    pub class: Option<String>,
    /// Base of every generated name.
    pub base_name: String,
}

/// The identity in which an object's resources live: that of the role to assume, or the operator's
/// own.
pub fn identity_of(access: Option<&AssumeRole>, own: &Identity) -> Identity {
    access.map_or_else(|| own.clone(), AssumeRole::identity)
}

/// Start of every link into the console of a region.
fn console(partition: &str, region: &str) -> String {
    format!("https://{region}.{}/codesuite", console_domain(partition))
}

/// The partition's domain of the console.
fn console_domain(partition: &str) -> &'static str {
    match partition {
        "aws-cn" => "console.amazonaws.cn",
        "aws-us-gov" => "console.amazonaws-us-gov.com",
        _ => "console.aws.amazon.com",
    }
}

impl Placement {
    /// The placement of an object's resources: in the account of the role to assume, or in the
    /// operator's own.
    pub fn decide(
        access: Option<&AssumeRole>,
        identity: &Identity,
        region: &str,
        class: Option<&str>,
        base_name: String,
    ) -> Self {
        let Identity {
            account, partition, ..
        } = identity_of(access, identity);
        Self {
            account,
            partition,
            region: region.to_owned(),
            class: class.map(str::to_owned),
            base_name,
        }
    }

    /// The placement of the resources that a class shares.
    pub fn of_class(
        owner: &Owner,
        access: Option<&AssumeRole>,
        identity: &Identity,
        region: &str,
        name_prefix: &str,
    ) -> Self {
        let Identity {
            account, partition, ..
        } = identity_of(access, identity);
        let base_name = names::class_name(name_prefix, owner);
        Self {
            account,
            partition,
            region: region.to_owned(),
            class: None,
            base_name,
        }
    }

    /// Refuses a placement that differs from the recorded one, since it would create a second set of
    /// resources elsewhere. The class alone may differ, because the object's author chose it.
    pub fn keep(&self, recorded: &PlacementStatus) -> Result<(), Refusal> {
        let differences: Vec<String> = [
            ("account", &recorded.account, &self.account),
            ("partition", &recorded.partition, &self.partition),
            ("region", &recorded.region, &self.region),
            ("base name", &recorded.base_name, &self.base_name),
        ]
        .into_iter()
        .filter(|(_, was, is)| was != is)
        .map(|(what, was, is)| format!("{what} {was} would become {is}"))
        .collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::PlacementChanged,
            format!(
                "this object's resources already exist in another place: {}. The operator does \
                     not create a second set of resources. Run it with its former credentials, \
                     region, clusterID and name prefix again, or delete this object while it runs \
                     with those, and create the object again",
                differences.join(", ")
            ),
        ))
    }

    /// The placement as status records it.
    pub fn status(&self) -> PlacementStatus {
        PlacementStatus {
            account: self.account.clone(),
            partition: self.partition.clone(),
            region: self.region.clone(),
            class: self.class.clone(),
            base_name: self.base_name.clone(),
        }
    }

    /// The placement that status recorded.
    pub fn recorded(status: &PlacementStatus) -> Self {
        Self {
            account: status.account.clone(),
            partition: status.partition.clone(),
            region: status.region.clone(),
            class: status.class.clone(),
            base_name: status.base_name.clone(),
        }
    }

    /// Refuses an ARN of another region or account; the advice says which ARN to write.
    pub fn check_arn(&self, field: &str, arn: &str, advice: &str) -> Result<(), Refusal> {
        match Arn::parse(arn) {
            Some(parts) if parts.region != self.region => Err(invalid(format!(
                "{field}: {arn} lies in region {}, and the pipeline in {}; {advice}",
                parts.region, self.region
            ))),
            Some(parts) if parts.account != self.account => Err(invalid(format!(
                "{field}: {arn} lies in account {}, and the pipeline in {}; {advice}",
                parts.account, self.account
            ))),
            _ => Ok(()),
        }
    }

    /// Start of every link into the console of the region.
    fn console(&self) -> String {
        console(&self.partition, &self.region)
    }

    /// The page where the quotas of a service are raised. Those of a service that has one endpoint
    /// for all regions are raised in the first region of the partition.
    /// <https://docs.aws.amazon.com/servicequotas/latest/userguide/request-quota-increase.html>
    pub fn quotas_url(&self, service: &str, is_global: bool) -> String {
        let region = match self.partition.as_str() {
            "aws" if is_global => "us-east-1",
            _ => &self.region,
        };
        let domain = console_domain(&self.partition);
        format!("https://{region}.{domain}/servicequotas/home/services/{service}/quotas")
    }

    /// Whether accounts have to turn the region on before they can use it: those that AWS opened
    /// since March 2019.
    /// <https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html>
    pub fn is_opt_in(&self) -> bool {
        const ALWAYS_ON: [&str; 17] = [
            "ap-northeast-1",
            "ap-northeast-2",
            "ap-northeast-3",
            "ap-south-1",
            "ap-southeast-1",
            "ap-southeast-2",
            "ca-central-1",
            "eu-central-1",
            "eu-north-1",
            "eu-west-1",
            "eu-west-2",
            "eu-west-3",
            "sa-east-1",
            "us-east-1",
            "us-east-2",
            "us-west-1",
            "us-west-2",
        ];
        self.partition == "aws" && !ALWAYS_ON.contains(&&*self.region)
    }

    /// ARN of a connection with this id.
    pub fn connection(&self, id: &str) -> String {
        format!(
            "arn:{}:codeconnections:{}:{}:connection/{id}",
            self.partition, self.region, self.account
        )
    }

    /// The page where a person authorizes the connection, in the console of its own account and
    /// region.
    /// <https://docs.aws.amazon.com/dtconsole/latest/userguide/connections-update.html>
    pub fn authorize_url(&self, connection_arn: &str) -> String {
        let id = connection_arn.rsplit('/').next().unwrap_or_default();
        let (partition, region, account) = match Arn::parse(connection_arn) {
            Some(arn) => (arn.partition, arn.region, arn.account),
            None => (&*self.partition, &*self.region, &*self.account),
        };
        let console = console(partition, region);
        format!("{console}/settings/{account}/{region}/codeconnections/connections/{id}")
    }

    /// The page of an execution.
    pub fn execution_url(&self, pipeline: &str, execution: &str) -> String {
        format!(
            "{}/codepipeline/pipelines/{pipeline}/executions/{execution}/timeline?region={}",
            self.console(),
            self.region
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Placement {
        Placement {
            account: "111122223333".into(),
            partition: "aws".into(),
            region: "eu-west-1".into(),
            class: Some("acme".into()),
            base_name: "rf-docs-abc".into(),
        }
    }

    #[test]
    fn a_placement_is_kept_and_another_class_is_no_other_place() {
        type Edit = fn(&mut PlacementStatus);
        let table: [(Edit, Option<&str>); 6] = [
            (|_| {}, None),
            (|p| p.class = None, None),
            (
                |p| p.account = "444455556666".into(),
                Some("account 444455556666 would become 111122223333"),
            ),
            (
                |p| p.partition = "aws-cn".into(),
                Some("partition aws-cn would become aws"),
            ),
            (
                |p| p.region = "us-east-1".into(),
                Some("region us-east-1 would become eu-west-1"),
            ),
            (
                |p| p.base_name = "x".into(),
                Some("base name x would become rf-docs-abc"),
            ),
        ];
        for (edit, words) in table {
            let mut recorded = place().status();
            edit(&mut recorded);
            let refusal = place().keep(&recorded).err();
            assert_eq!(refusal.is_some(), words.is_some(), "{recorded:?}");
            if let (Some(refusal), Some(words)) = (refusal, words) {
                assert_eq!(refusal.reason, Reason::PlacementChanged);
                assert!(refusal.message.contains(words), "{refusal}");
            }
        }
        assert_eq!(Placement::recorded(&place().status()), place());
    }

    #[test]
    fn a_role_decides_account_and_partition() {
        let own = Identity {
            account: "111122223333".into(),
            partition: "aws".into(),
            arn: "arn:aws:iam::111122223333:user/operator".into(),
        };
        let role = AssumeRole {
            role_arn: "arn:aws-cn:iam::444455556666:role/r".into(),
            external_id: None,
            session_tags: Default::default(),
        };
        for (access, account, partition) in [
            (None, "111122223333", "aws"),
            (Some(&role), "444455556666", "aws-cn"),
        ] {
            let decided = Placement::decide(access, &own, "r", None, "b".into());
            assert_eq!(
                (&*decided.account, &*decided.partition),
                (account, partition)
            );
        }
    }

    #[test]
    fn each_partition_has_its_own_console() {
        for (partition, domain) in [
            ("aws", "console.aws.amazon.com"),
            ("aws-cn", "console.amazonaws.cn"),
            ("aws-us-gov", "console.amazonaws-us-gov.com"),
        ] {
            let place = Placement {
                partition: partition.into(),
                ..place()
            };
            let start = format!("https://eu-west-1.{domain}/codesuite/");
            let arn = place.connection("abc");
            assert!(
                arn.starts_with(&format!("arn:{partition}:codeconnections:")),
                "{arn}"
            );
            let link = place.authorize_url(&arn);
            assert!(
                link.starts_with(&start) && link.ends_with("/codeconnections/connections/abc"),
                "{link}"
            );
            assert!(place.execution_url("p", "e").starts_with(&start));
        }
    }

    #[test]
    fn a_connection_of_elsewhere_has_its_page_in_its_own_console() {
        let arn = "arn:aws:codestar-connections:us-east-1:444455556666:connection/abc";
        assert_eq!(
            place().authorize_url(arn),
            "https://us-east-1.console.aws.amazon.com/codesuite/settings/444455556666/us-east-1/\
             codeconnections/connections/abc"
        );
    }
}
