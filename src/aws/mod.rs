//! Implements the traits of [`crate::cloud`] with the AWS SDK. Only this module names the SDK's
//! types.

/// Converts our tags to the tag type of a service; each service's SDK has a type of its own.
macro_rules! tag_set {
    ($tag:ident, $call:expr, $tags:expr) => {
        $tags
            .iter()
            .map(|(k, v)| {
                $tag::builder()
                    .key(k)
                    .value(v)
                    .build()
                    .map_err($crate::aws::unbuildable($call))
            })
            .collect::<$crate::cloud::Result<Vec<$tag>>>()
    };
}

/// Creates a client that counts throttled attempts.
macro_rules! counted {
    ($sdk:ident, $config:expr, $throttles:expr) => {
        $sdk::Client::from_conf(
            $sdk::config::Builder::from(&$config)
                .interceptor($throttles)
                .build(),
        )
    };
}

mod bucket;
mod bucket_settings;
mod connection;
mod declaration;
mod error;
mod event_rule;
mod execution;
mod limit;
mod lists;
mod notification_rule;
mod object;
mod permissions;
mod pipeline;
mod queue;
mod role;
mod shared_policy;
mod throttles;
mod topic;

pub use permissions::Denied;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::SharedCredentialsProvider;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_smithy_async::future::pagination_stream::PaginationStream;
use aws_smithy_types::DateTime;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;
use jiff::Timestamp;
use lists::Listed;
use shared_policy::Refusals;
use throttles::{CALL, Throttles};
use tokio::sync::Mutex;
use tracing::field::Empty;
use tracing::{Instrument, debug, debug_span};

use crate::cloud;
use crate::cloud::{Cloud, Clouds};
use crate::domain::arn::Arn;
use crate::domain::settings::{AssumeRole, Identity};
use crate::metrics::Metrics;
use crate::resource::connection::ObservedConnection;
use crate::resource::pipeline::ListedPipeline;

/// Options for the access to AWS.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Region, or `None` for the SDK's default.
    pub region: Option<String>,
    /// Addresses S3 buckets by path, for endpoints other than AWS.
    pub path_style: bool,
    /// Rejects every call that would change something.
    pub read_only: bool,
    /// Rate limits per API, in calls per second, by prefix of the call's name. They override the
    /// built-in ones.
    pub rates: Vec<(String, f64)>,
}

/// The operator's access to AWS, with credentials from the SDK's default chain.
pub struct Aws {
    config: SdkConfig,
    path_style: bool,
    identity: Identity,
    limits: Arc<limit::Limits>,
    metrics: Arc<Metrics>,
    read_only: bool,
    clouds: Mutex<HashMap<(Option<AssumeRole>, String), Cloud>>,
}

/// State that all adapters of one region share.
struct Clients {
    account: String,
    region: String,
    s3: aws_sdk_s3::Client,
    iam: aws_sdk_iam::Client,
    sns: aws_sdk_sns::Client,
    codepipeline: aws_sdk_codepipeline::Client,
    connections: aws_sdk_codestarconnections::Client,
    notifications: aws_sdk_codestarnotifications::Client,
    events: aws_sdk_eventbridge::Client,
    sqs: aws_sdk_sqs::Client,
    queue_urls: Mutex<HashMap<String, String>>,
    /// Held while the policy of a bucket is read, changed and written.
    policies: Mutex<()>,
    /// Policies that AWS refused for a principal.
    refusals: Refusals,
    limits: Arc<limit::Limits>,
    metrics: Arc<Metrics>,
    read_only: bool,
    /// Whether it exists. It is checked and created at most once per process, because it stays.
    service_linked_role: Mutex<bool>,
    listed_connections: Listed<Vec<ObservedConnection>>,
    listed_pipelines: Listed<BTreeMap<String, ListedPipeline>>,
    listed_rules: Listed<BTreeSet<String>>,
}

impl Aws {
    /// Loads credentials and region, and asks STS for the identity.
    ///
    /// # Errors
    /// Returns one line that says what is missing: a region, credentials, or access to STS.
    pub async fn connect(options: Options, metrics: Arc<Metrics>) -> Result<Self, String> {
        let Options {
            region,
            path_style,
            read_only,
            rates,
        } = options;
        // The SDK has no time limit by default. Without these, a lost connection would block a
        // worker for ever.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(Duration::from_secs(20))
            .operation_timeout(Duration::from_secs(60))
            .build();
        let mut loader =
            aws_config::defaults(BehaviorVersion::v2026_01_12()).timeout_config(timeouts);
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err("no AWS region: give --region, or set AWS_REGION".to_owned());
        }
        let caller = aws_sdk_sts::Client::new(&config)
            .get_caller_identity()
            .send()
            .await;
        let caller = caller.map_err(|e| {
            format!(
                "AWS does not accept the operator's credentials: {}; give it a role (IRSA, Pod \
                     Identity) or AWS_ACCESS_KEY_ID, and check the region",
                error::classify("sts:GetCallerIdentity", e)
            )
        })?;
        let arn = caller.arn().unwrap_or_default().to_owned();
        let identity = Identity {
            account: caller.account().unwrap_or_default().to_owned(),
            partition: Arn::parse(&arn).map_or("aws", |a| a.partition).to_owned(),
            arn,
        };
        Ok(Self {
            config,
            path_style,
            identity,
            limits: Arc::new(limit::Limits::new(rates)),
            metrics,
            read_only,
            clouds: Mutex::default(),
        })
    }

    /// Returns the identity of the credentials.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the operator's own region.
    pub fn home(&self) -> &str {
        self.config.region().map_or("", |r| r.as_ref())
    }
}

#[async_trait]
impl Clouds for Aws {
    async fn cloud(&self, access: Option<&AssumeRole>, region: &str) -> Cloud {
        let key = (access.cloned(), region.to_owned());
        let mut clouds = self.clouds.lock().await;
        if let Some(cloud) = clouds.get(&key) {
            return cloud.clone();
        }
        let cloud = self.connect_to(access, region).await;
        clouds.insert(key, cloud.clone());
        cloud
    }
}

impl Aws {
    async fn connect_to(&self, access: Option<&AssumeRole>, region: &str) -> Cloud {
        let mut builder = self
            .config
            .to_builder()
            .region(Region::new(region.to_owned()));
        let mut account = self.identity.account.clone();
        if let Some(role) = access {
            account = role.identity().account;
            builder = builder.credentials_provider(self.assume(role).await);
        }
        let config = builder.build();
        let throttles = |service| Throttles {
            service,
            metrics: Arc::clone(&self.metrics),
            account: account.clone(),
            region: region.to_owned(),
            limits: Arc::clone(&self.limits),
        };
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(self.path_style);
        let clients = Arc::new(Clients {
            account: account.clone(),
            region: region.to_owned(),
            s3: aws_sdk_s3::Client::from_conf(s3.interceptor(throttles("s3")).build()),
            iam: counted!(aws_sdk_iam, config, throttles("iam")),
            sns: counted!(aws_sdk_sns, config, throttles("sns")),
            codepipeline: counted!(aws_sdk_codepipeline, config, throttles("codepipeline")),
            connections: counted!(
                aws_sdk_codestarconnections,
                config,
                throttles("codestar-connections")
            ),
            notifications: counted!(
                aws_sdk_codestarnotifications,
                config,
                throttles("codestar-notifications")
            ),
            events: counted!(aws_sdk_eventbridge, config, throttles("events")),
            sqs: counted!(aws_sdk_sqs, config, throttles("sqs")),
            queue_urls: Mutex::default(),
            policies: Mutex::default(),
            refusals: Refusals::default(),
            limits: Arc::clone(&self.limits),
            metrics: Arc::clone(&self.metrics),
            read_only: self.read_only,
            service_linked_role: Mutex::default(),
            listed_connections: Listed::default(),
            listed_pipelines: Listed::default(),
            listed_rules: Listed::default(),
        });
        Cloud {
            buckets: clients.clone(),
            objects: clients.clone(),
            connections: clients.clone(),
            roles: clients.clone(),
            topics: clients.clone(),
            pipelines: clients.clone(),
            notification_rules: clients.clone(),
            queues: clients.clone(),
            event_rules: clients,
        }
    }

    /// Returns credentials of the role, chained from the operator's own. The SDK renews them before
    /// they expire. They come from STS in the operator's own region: an account's STS in another
    /// region works only if that account has the region on, and the role's account may have it on
    /// although the operator's has not. Credentials of a regional endpoint hold in every region.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html>
    async fn assume(&self, role: &AssumeRole) -> SharedCredentialsProvider {
        let tags = role
            .session_tags
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()));
        let mut builder = AssumeRoleProvider::builder(&role.role_arn)
            .configure(&self.config)
            .region(Region::new(self.home().to_owned()))
            .session_name("repofanout");
        if !role.session_tags.is_empty() {
            builder = builder.tags(tags);
        }
        if let Some(id) = &role.external_id {
            builder = builder.external_id(id);
        }
        SharedCredentialsProvider::new(builder.build().await)
    }
}

impl Clients {
    /// Sends a request within its rate limit, and classifies errors.
    async fn call<T: RequestId, E: ServiceError>(
        &self,
        call: &'static str,
        sent: impl Future<Output = Result<T, error::SdkError<E>>>,
    ) -> cloud::Result<T> {
        self.permit(call).await?;
        self.measured(call, async { Some(sent.await) })
            .await
            .expect("it answers once")
    }

    /// Reads all pages of a list, each within its rate limit.
    async fn pages<T: RequestId, E: ServiceError>(
        &self,
        call: &'static str,
        mut stream: PaginationStream<Result<T, error::SdkError<E>>>,
    ) -> cloud::Result<Vec<T>> {
        let mut pages = Vec::new();
        loop {
            self.permit(call).await?;
            match self.measured(call, stream.next()).await {
                Some(page) => pages.push(page?),
                None => {
                    // The previous page already reported that it was the last one.
                    self.limits.give_back(&self.account, &self.region, call);
                    return Ok(pages);
                }
            }
        }
    }

    /// Waits for the call's rate limit. Rejects a call that a read-only operator must not send.
    async fn permit(&self, call: &'static str) -> cloud::Result<()> {
        if self.read_only && !cloud::reads(call) {
            return Err(cloud::Error {
                class: cloud::Class::Denied,
                call,
                code: None,
                message: "the operator runs with --read-only and has not sent it".to_owned(),
                request_id: None,
            });
        }
        let begun = Instant::now();
        self.limits.ready(&self.account, &self.region, call).await;
        self.metrics.aws_waited(call, begun.elapsed());
        Ok(())
    }

    /// Awaits one response, if there is a next one. The response is counted and has its own tracing
    /// span.
    async fn measured<T: RequestId, E: ServiceError>(
        &self,
        call: &'static str,
        sent: impl Future<Output = Option<Result<T, error::SdkError<E>>>>,
    ) -> Option<cloud::Result<T>> {
        let span = debug_span!("aws", call, code = Empty, request_id = Empty);
        let begun = Instant::now();
        let result = CALL.scope(call, sent.instrument(span.clone())).await?;
        let (code, id, result) = match result {
            Ok(answer) => ("OK", answer.request_id().map(str::to_owned), Ok(answer)),
            Err(refused) => {
                let error = error::classify(call, refused);
                if error.class == cloud::Class::Quota {
                    self.limits.give_back(&self.account, &self.region, call);
                }
                (error::code(&error), error.request_id.clone(), Err(error))
            }
        };
        self.metrics.aws_answered(call, code, begun.elapsed());
        span.record("code", code).record("request_id", id);
        span.in_scope(|| debug!("answered"));
        Some(result)
    }
}

/// Bounds that the SDK's errors have in common.
trait ServiceError: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static {}

impl<E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static> ServiceError for E {}

/// Turns "not found" into `None`.
fn found<T>(result: cloud::Result<T>) -> cloud::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.class == cloud::Class::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Treats the deletion of something that does not exist as a success.
fn gone<T>(result: cloud::Result<T>) -> cloud::Result<()> {
    found(result).map(|_| ())
}

/// Error about a response without a field that AWS documents as always present.
fn incomplete(call: &'static str, what: &str) -> cloud::Error {
    cloud::Error {
        class: cloud::Class::Transient,
        call,
        code: None,
        message: format!("the answer lacks {what}"),
        request_id: None,
    }
}

/// Error about a part of a request that cannot be built. The cause is a bug, or a spec that
/// validation should have rejected.
fn unbuildable(
    call: &'static str,
) -> impl Fn(aws_smithy_types::error::operation::BuildError) -> cloud::Error {
    move |e| cloud::Error {
        class: cloud::Class::Invalid,
        call,
        code: None,
        message: e.to_string(),
        request_id: None,
    }
}

fn timestamp(time: Option<&DateTime>) -> Timestamp {
    time.and_then(|t| Timestamp::from_nanosecond(t.as_nanos()).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn json(call: &'static str, text: &str) -> cloud::Result<serde_json::Value> {
    serde_json::from_str(text).map_err(|e| incomplete(call, &format!("a policy in JSON ({e})")))
}
