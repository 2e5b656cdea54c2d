//! Counts throttled attempts and lowers the rate limit. The SDK retries such attempts, so a call
//! that succeeds in the end hides them.

use std::sync::Arc;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use crate::aws::error;
use crate::aws::limit::Limits;
use crate::metrics::Metrics;

/// Counts the attempts of one service.
#[derive(Clone)]
pub struct Throttles {
    /// Name of the service in the metric.
    pub service: &'static str,
    /// Metrics that count the attempts.
    pub metrics: Arc<Metrics>,
    /// Account whose rate limit is lowered.
    pub account: String,
    /// Region whose rate limit is lowered.
    pub region: String,
    /// Rate limits.
    pub limits: Arc<Limits>,
}

tokio::task_local! {
    /// The call in progress, by its IAM name.
    pub static CALL: &'static str;
}

impl std::fmt::Debug for Throttles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttles")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Throttles {
    fn name(&self) -> &'static str {
        "Throttles"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        if !response.status().is_success()
            && let Some(body) = response.body().bytes()
            && error::throttles(response.status().as_u16(), body)
        {
            self.metrics.aws_throttled(self.service);
            let _ = CALL.try_with(|call| self.limits.throttled(&self.account, &self.region, call));
        }
        Ok(())
    }
}
