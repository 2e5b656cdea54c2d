//! Connections, by the API that accepts both ARN prefixes.
//! <https://docs.aws.amazon.com/dtconsole/latest/userguide/rename.html>

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_codestarconnections::config;
use aws_sdk_codestarconnections::config::retry::RetryConfig;
use aws_sdk_codestarconnections::types::{Connection, ProviderType, Tag};

use crate::aws::{Clients, found, gone};
use crate::cloud::{Connections, Result};
use crate::domain::arn::Arn;
use crate::domain::owner::Tags;
use crate::domain::word::Word;
use crate::resource::connection as desired;
use crate::resource::connection::{ConnectionState, ObservedConnection};

/// Maximum age of the list in which connections are found by name. It always contains the
/// connections that we created.
const FRESH: Duration = Duration::from_secs(2);

#[async_trait]
impl Connections for Clients {
    async fn observe(&self, arn: &str) -> Result<Option<ObservedConnection>> {
        let get = self
            .connections
            .get_connection()
            .connection_arn(arn)
            .customize()
            .config_override(home(arn))
            .send();
        let answer = found(self.call("codestar-connections:GetConnection", get).await)?;
        Ok(answer.and_then(|a| a.connection).map(|c| read(&c)))
    }

    async fn named(&self, name: &str, recorded: Option<&str>) -> Result<Vec<ObservedConnection>> {
        let all = self.all_connections(FRESH).await?;
        let listed = all.iter().filter(|c| c.name == name && self.is_here(c));
        let mut arns: BTreeSet<&str> = listed.map(|c| c.arn.as_str()).collect();
        arns.extend(recorded);
        let mut named = Vec::new();
        for arn in arns {
            // The status decides whether the connection is kept or deleted, so it is not taken from
            // a cached list.
            let observed = Connections::observe(self, arn).await?;
            let Some(mut connection) = observed.filter(|c| c.name == name) else {
                continue;
            };
            // A connection that was deleted between the two calls has no tags, so it has no owner.
            let list = self
                .connections
                .list_tags_for_resource()
                .resource_arn(&connection.arn)
                .customize()
                .config_override(home(arn))
                .send();
            let Some(answer) = found(
                self.call("codestar-connections:ListTagsForResource", list)
                    .await,
            )?
            else {
                continue;
            };
            connection.tags = answer
                .tags()
                .iter()
                .map(|t| (t.key().to_owned(), t.value().to_owned()))
                .collect();
            named.push(connection);
        }
        Ok(named)
    }

    async fn count(&self, age: Duration) -> Result<usize> {
        let all = self.all_connections(age).await?;
        Ok(all.iter().filter(|c| self.is_here(c)).count())
    }

    async fn create(
        &self,
        desired: &desired::Connection,
        tags: &Tags,
    ) -> Result<ObservedConnection> {
        const CALL: &str = "codestar-connections:CreateConnection";
        let create = self
            .connections
            .create_connection()
            .connection_name(&desired.name)
            .set_provider_type(desired.provider.map(|p| ProviderType::from(p.as_str())))
            .set_host_arn(desired.host_arn.clone())
            .set_tags(Some(tag_set!(Tag, CALL, tags)?))
            .customize()
            .config_override(config::Builder::default().retry_config(RetryConfig::disabled()))
            .send();
        self.listed_connections.changed();
        let answer = self.call(CALL, create).await;
        self.listed_connections.changed();
        let answer = answer?;
        Ok(desired.created(answer.connection_arn().to_owned(), tags.clone()))
    }

    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()> {
        const CALL: &str = "codestar-connections:TagResource";
        let tag = self
            .connections
            .tag_resource()
            .resource_arn(arn)
            .set_tags(Some(tag_set!(Tag, CALL, tags)?))
            .customize()
            .config_override(home(arn))
            .send();
        self.call(CALL, tag).await.map(|_| ())
    }

    async fn delete(&self, arn: &str) -> Result<()> {
        let delete = self
            .connections
            .delete_connection()
            .connection_arn(arn)
            .customize()
            .config_override(home(arn))
            .send();
        gone(
            self.call("codestar-connections:DeleteConnection", delete)
                .await,
        )
    }
}

/// The region that a connection belongs to: each region lists those of all, and its own alone tags
/// and deletes it.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/welcome-connections-how-it-works-global.html>
fn home(arn: &str) -> config::Builder {
    let mut builder = config::Builder::default();
    if let Some(arn) = Arn::parse(arn) {
        builder.set_region(Some(config::Region::new(arn.region.to_owned())));
    }
    builder
}

impl Clients {
    /// Whether a connection belongs to this region.
    fn is_here(&self, connection: &ObservedConnection) -> bool {
        Arn::parse(&connection.arn).is_some_and(|arn| arn.region == self.region)
    }

    async fn all_connections(&self, age: Duration) -> Result<Arc<Vec<ObservedConnection>>> {
        let ask = async {
            let pages = self
                .connections
                .list_connections()
                .max_results(100)
                .into_paginator()
                .send();
            let pages = self
                .pages("codestar-connections:ListConnections", pages)
                .await?;
            Ok(pages
                .iter()
                .flat_map(|p| p.connections())
                .map(read)
                .collect())
        };
        self.listed_connections.get(age, ask).await
    }
}

fn read(connection: &Connection) -> ObservedConnection {
    ObservedConnection {
        arn: connection.connection_arn().unwrap_or_default().to_owned(),
        name: connection.connection_name().unwrap_or_default().to_owned(),
        state: ConnectionState::parse(connection.connection_status().map_or("", |s| s.as_str())),
        provider: connection
            .provider_type()
            .map_or("", |p| p.as_str())
            .to_owned(),
        tags: Tags::new(),
    }
}
