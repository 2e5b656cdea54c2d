//! What is on a class before and after what is written to AWS.

use kube::ResourceExt;

use crate::cloud::Error;
use crate::domain::kind::Resource;
use crate::reconcile::class::Pass;
use crate::reconcile::converge::{Ledger, Stop, intent, surely_not_made};
use crate::resource::Desired;
use crate::resource::Observed;
use crate::resource::plan::{Plan, Step};
use crate::status::Notice;

impl Ledger for Pass<'_> {
    async fn planned(&mut self, plan: &Plan, desired: &Desired, observed: &Observed) {
        if self.connection.is_none() {
            self.record(desired, observed);
        }
        for text in &plan.drift {
            if plan.refusals.is_empty() && self.saw.told.insert(text.clone()) {
                let note = text.clone();
                self.object
                    .notify(Notice {
                        warning: true,
                        reason: "DriftCorrected".to_owned(),
                        note,
                    })
                    .await;
            }
        }
    }

    async fn write_ahead(&mut self, steps: &[Step]) -> Result<String, Stop> {
        let mut next = self.object.status();
        next.placement = self.class.as_ref().map(|class| class.place.status());
        let given = self
            .connection
            .as_ref()
            .and_then(|name| next.connections.get(name)?.intent.as_ref());
        let intent = intent(steps, given, &self.object.uid(), self.now)?;
        if let (Some(intent), Some(name)) = (&intent, &self.connection) {
            next.connections.entry(name.clone()).or_default().intent = Some(intent.clone());
        }
        if steps.iter().any(|s| s.resource() == Resource::Role) {
            next.permissions_written_at = Some(self.now);
        }
        self.object.confirm_status(next).await?;
        Ok(intent.map(|i| i.id).unwrap_or_default())
    }

    /// Records a connection's ARN at once; takes the word back only where AWS has surely made
    /// nothing.
    async fn wrote(
        &mut self,
        step: &Step,
        result: &Result<(), Error>,
        desired: &Desired,
        observed: &Observed,
    ) -> Result<(), Stop> {
        let Some(name) = self.connection.clone() else {
            if step.resource().feeds_events()
                && result.is_ok()
                && self
                    .object
                    .status()
                    .resources
                    .contains_key(step.resource().as_str())
            {
                // What it was to feed, or to keep, may have been lost until now.
                self.context
                    .feeds
                    .interrupted(&self.object.current.name_any());
                self.context.wake_fanouts();
            }
            self.record(desired, observed);
            return Ok(());
        };
        if !step.creates() {
            return Ok(());
        }
        let mut next = self.object.status();
        let connection = next.connections.entry(name.clone()).or_default();
        match (result, &observed.connection) {
            (Ok(()), Some(made)) => {
                connection.arn = Some(made.arn.clone());
                connection.status = Some(made.state.as_str().to_owned());
                connection.authorize_url = self
                    .class
                    .as_ref()
                    .map(|class| class.place.authorize_url(&made.arn));
                connection.intent = None;
            }
            (Err(e), _) if surely_not_made(e) => connection.intent = None,
            _ => return Ok(()),
        }
        Ok(self.object.set_status(next).await?)
    }
}
