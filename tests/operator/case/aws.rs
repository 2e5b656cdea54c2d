//! What a test asks of AWS, past the operator: as the person who authorizes a connection, as somebody
//! else in the account, or as a consumer.

use repofanout::api::class::RepoFanoutClassStatus;
use repofanout::api::status::RepoFanoutStatus;
use serde_json::json;
use support::Result;
use support::aws::Aws;

use super::{Case, REGION, base_name, world};

/// An execution of a pipeline, as CodePipeline lists it.
#[derive(Clone, Debug)]
pub struct Execution {
    pub status: String,
    /// Why it started, such as `Webhook`.
    pub trigger: String,
}

impl Case {
    pub fn aws(&self) -> &'static Aws {
        &world().aws
    }

    /// Calls IAM in the case's account.
    pub async fn iam(&self, fields: &[(&str, &str)]) -> Result<String> {
        self.query(&self.account, "iam", "2010-05-08", fields).await
    }

    /// Calls SNS in the case's account.
    pub async fn sns(&self, fields: &[(&str, &str)]) -> Result<String> {
        self.query(&self.account, "sns", "2010-03-31", fields).await
    }

    /// Calls SQS in the case's account.
    pub async fn sqs(&self, fields: &[(&str, &str)]) -> Result<String> {
        self.query(&self.account, "sqs", "2012-11-05", fields).await
    }

    async fn query(
        &self,
        account: &str,
        service: &str,
        version: &str,
        fields: &[(&str, &str)],
    ) -> Result<String> {
        let fields = [&[("Version", version)], fields].concat();
        self.aws().form(account, REGION, service, &fields).await
    }

    /// Calls S3 in the case's account.
    pub async fn s3(&self, method: &str, path: &str, body: &str) -> Result<String> {
        self.aws()
            .s3(&self.account, REGION, method, path, body)
            .await
    }

    /// Creates a bucket of somebody else's in the account, without tags.
    pub async fn create_bucket(&self, name: &str) {
        let place = format!(
            "<CreateBucketConfiguration \
                 xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        self.s3("PUT", &format!("/{name}"), &place)
            .await
            .expect("a bucket");
    }

    /// Creates a topic of somebody else's in the account, without tags; answers its ARN.
    pub async fn create_topic(&self, name: &str) -> String {
        self.sns(&[("Action", "CreateTopic"), ("Name", name)])
            .await
            .expect("a topic");
        format!("arn:aws:sns:{REGION}:{}:{name}", self.account)
    }

    /// Creates a queue of somebody else's in the account; answers its URL and its ARN.
    pub async fn create_queue(&self, name: &str) -> (String, String) {
        let created = self
            .sqs(&[("Action", "CreateQueue"), ("QueueName", name)])
            .await
            .expect("a queue");
        let url = created
            .split("<QueueUrl>")
            .nth(1)
            .and_then(|rest| rest.split("</QueueUrl>").next())
            .expect("its URL");
        (
            url.to_owned(),
            format!("arn:aws:sqs:{REGION}:{}:{name}", self.account),
        )
    }

    /// Receives and deletes messages of a queue, and answers their bodies.
    pub async fn receive(&self, queue: &str) -> Result<Vec<String>> {
        self.aws().receive(&self.account, REGION, queue).await
    }

    /// Creates a role of another account that lets this case's account in, with an external id;
    /// answers its ARN.
    pub async fn create_trusting_role(&self, account: &str, external_id: &str) -> String {
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:root", self.account)},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
        }]});
        let create = [
            ("Action", "CreateRole"),
            ("RoleName", "fanout"),
            ("AssumeRolePolicyDocument", &*trust.to_string()),
        ];
        self.query(account, "iam", "2010-05-08", &create)
            .await
            .expect("a role");
        format!("arn:aws:iam::{account}:role/fanout")
    }

    /// Waits for the fan-out's own connection, and authorizes it as a person would; answers its ARN.
    ///
    /// The first execution is held until the notification rule stands: one that ends before is
    /// started once more, which is right, but makes the number of executions depend on time.
    pub async fn authorize(&self, name: &str) -> String {
        let status = self
            .wait_condition(name, "Ready", "False", "ConnectionPending")
            .await;
        let base = base_name(&status);
        let arn = status.connection.and_then(|c| c.arn).expect("an ARN");
        self.aws().hold_executions(&self.account, true);
        self.aws().authorize(&arn).expect("a connection");
        self.until(|| async {
            let rules = self.aws().rules(&self.account);
            let found = rules.iter().any(|rule| rule.resource.ends_with(&base));
            found
                .then_some(())
                .ok_or_else(|| format!("{name}: no notification rule"))
        })
        .await;
        self.aws().hold_executions(&self.account, false);
        arn
    }

    /// Waits for a connection of the class, and authorizes it as a person would; answers its ARN.
    pub async fn authorize_class(&self, name: &str, connection: &str) -> String {
        let is_pending = |status: &RepoFanoutClassStatus| {
            let found = status.connections.get(connection);
            found.is_some_and(|c| c.status.as_deref() == Some("PENDING"))
        };
        let status = self
            .wait_class(name, "no connection is PENDING", is_pending)
            .await;
        let arn = status.connections[connection].arn.clone().expect("an ARN");
        self.aws().authorize(&arn).expect("a connection");
        arn
    }

    /// Content of a delivered file, if it is in the destination.
    pub async fn file(&self, status: &RepoFanoutStatus, path: &str) -> Option<String> {
        let delivered = status.delivered.as_ref().expect("something delivered");
        let path = format!("/{}/{}/{path}", delivered.bucket, delivered.prefix);
        self.s3("GET", &path, "").await.ok()
    }

    /// The operations that wrote to the account so far, in their order.
    pub fn writes(&self) -> Vec<String> {
        self.aws()
            .calls(&self.account)
            .into_iter()
            .filter(|call| call.write)
            .map(|call| call.operation)
            .collect()
    }

    /// The executions of a pipeline, in the order of their starts.
    pub fn executions(&self, pipeline: &str) -> Vec<Execution> {
        let executions = self.aws().executions(&self.account, pipeline);
        executions
            .into_iter()
            .map(|(status, trigger)| Execution { status, trigger })
            .collect()
    }
}
