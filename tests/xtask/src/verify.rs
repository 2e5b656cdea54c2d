//! `cargo xtask verify-aws`: what no source verifies of AWS, asked of a real account.
//!
//! Each claim has its switch in the stand-in (`tests/aws/src/state.rs`); what this
//! prints says which way the switch belongs.

use std::process::Command;

use serde_json::{Value, json};
use support::{Result, aws_cli};

/// Asks everything, and deletes what it made.
pub fn run(yes: bool) -> Result<()> {
    if !yes {
        return Err(
            "this makes and deletes a role, a bucket, two connections and a pipeline in the \
                 account of your AWS credentials; say --yes to go on"
                .to_owned(),
        );
    }
    let python = aws_cli(|line| eprintln!("{line}"))?;
    let aws = |arguments: &[&str]| -> std::result::Result<Value, String> {
        let output = Command::new(&python)
            .args(["-m", "awscli", "--output", "json"])
            .args(arguments)
            .output();
        let output = output.map_err(|e| format!("aws: {e}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    };
    let account = aws(&["sts", "get-caller-identity"])?["Account"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let name = format!("rf-verify-{}", std::process::id());
    println!("account {account}, everything is named {name}");
    let mut probe = Probe {
        aws: &aws,
        name,
        account,
        undo: Vec::new(),
    };
    let result = probe.ask();
    for command in probe.undo.iter().rev() {
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        if let Err(e) = aws(&arguments) {
            eprintln!(
                "left behind, delete it yourself: aws {}: {e}",
                arguments.join(" ")
            );
        }
    }
    result
}

struct Probe<'a> {
    aws: &'a dyn Fn(&[&str]) -> std::result::Result<Value, String>,
    name: String,
    account: String,
    undo: Vec<Vec<String>>,
}

fn claim(name: &str, holds: bool, told: &str) {
    println!(
        "{} {name}: {told}",
        if holds { "holds  " } else { "DIFFERS" }
    );
}

impl Probe<'_> {
    fn undo(&mut self, command: &[&str]) {
        self.undo
            .push(command.iter().map(|a| (*a).to_owned()).collect());
    }

    fn ask(&mut self) -> Result<()> {
        let connection = self.connections()?;
        let deleted = (self.aws)(&[
            "codepipeline",
            "delete-pipeline",
            "--name",
            "rf-verify-none",
        ]);
        claim(
            "delete_missing_pipeline (DeletePipeline of a missing one succeeds)",
            deleted.is_ok(),
            &format!("{deleted:?}"),
        );
        let bucket = self.bucket()?;
        let role = self.role()?;
        self.pipeline(&connection, &bucket, &role)
    }

    fn connections(&mut self) -> Result<String> {
        let name = self.name.clone();
        let create = [
            "codestar-connections",
            "create-connection",
            "--provider-type",
            "GitHub",
            "--connection-name",
            &name,
        ];
        let first = (self.aws)(&create)?["ConnectionArn"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.undo(&[
            "codestar-connections",
            "delete-connection",
            "--connection-arn",
            &first,
        ]);
        let older = first.contains(":codestar-connections:");
        claim(
            "older_connection_arns (the older API makes ARNs with the older prefix)",
            older,
            &first,
        );
        let second = (self.aws)(&create);
        if let Ok(made) = &second {
            let arn = made["ConnectionArn"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            self.undo(&[
                "codestar-connections",
                "delete-connection",
                "--connection-arn",
                &arn,
            ]);
        }
        claim(
            "duplicate_connection_names (CreateConnection takes a name twice)",
            second.is_ok(),
            &format!("{second:?}"),
        );
        Ok(first)
    }

    fn bucket(&mut self) -> Result<String> {
        let bucket = format!("{}-{}", self.name, self.account);
        let region = std::env::var("AWS_REGION")
            .or_else(|_| std::env::var("AWS_DEFAULT_REGION"))
            .map_err(|_| "set AWS_REGION")?;
        let place = format!("LocationConstraint={region}");
        let mut create = vec!["s3api", "create-bucket", "--bucket", &bucket];
        if region != "us-east-1" {
            create.extend(["--create-bucket-configuration", &place]);
        }
        (self.aws)(&create)?;
        self.undo(&["s3api", "delete-bucket", "--bucket", &bucket]);
        let encryption = (self.aws)(&["s3api", "get-bucket-encryption", "--bucket", &bucket]);
        claim(
            "a new bucket is encrypted",
            encryption.is_ok(),
            &format!("{encryption:?}"),
        );
        let block = (self.aws)(&["s3api", "get-public-access-block", "--bucket", &bucket]);
        claim(
            "a new bucket blocks public access",
            block.is_ok(),
            &format!("{block:?}"),
        );
        Ok(bucket)
    }

    fn role(&mut self) -> Result<String> {
        let name = self.name.clone();
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "codepipeline.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
        let create = [
            "iam",
            "create-role",
            "--role-name",
            &name,
            "--assume-role-policy-document",
            &trust.to_string(),
        ];
        let arn = (self.aws)(&create)?["Role"]["Arn"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.undo(&["iam", "delete-role", "--role-name", &name]);
        Ok(arn)
    }

    fn pipeline(&mut self, connection: &str, bucket: &str, role: &str) -> Result<()> {
        let name = self.name.clone();
        let action = |name: &str, provider: &str, configuration: Value| {
            let (inputs, outputs) = if name == "Source" {
                (json!([]), json!([{"name": "A"}]))
            } else {
                (json!([{"name": "A"}]), json!([]))
            };
            json!({"name": name, "actions": [{
                "name": name, "actionTypeId": {"category": name, "owner": "AWS", "provider": provider, "version": "1"},
                "configuration": configuration, "inputArtifacts": inputs, "outputArtifacts": outputs}]})
        };
        let structure = json!({
            "name": name, "roleArn": role, "pipelineType": "V2", "executionMode": "QUEUED",
            "artifactStore": {"type": "S3", "location": bucket},
            "stages": [
                action("Source", "CodeStarSourceConnection", json!({
                    "ConnectionArn": connection, "FullRepositoryId": "acme/docs", "BranchName": "main", "DetectChanges": "true"})),
                action("Deploy", "S3", json!({"BucketName": bucket, "Extract": "true", "ObjectKey": "acme/docs"})),
            ],
        });
        // A role that was just made is not known everywhere: AWS says so, and it is tried again.
        let create = || {
            (self.aws)(&[
                "codepipeline",
                "create-pipeline",
                "--pipeline",
                &structure.to_string(),
            ])
        };
        let mut created = create();
        for _ in 0..12 {
            match &created {
                Err(e) if e.contains("not authorized") => {
                    println!(
                        "        a new role is refused for a while: {}",
                        e.lines().last().unwrap_or_default()
                    );
                    std::thread::sleep(std::time::Duration::from_secs(5));
                    created = create();
                }
                _ => break,
            }
        }
        created?;
        self.undo(&["codepipeline", "delete-pipeline", "--name", &name]);
        let got = (self.aws)(&["codepipeline", "get-pipeline", "--name", &name])?;
        let structure = &got["pipeline"];
        claim(
            "default_trigger is on (GetPipeline shows a push filter on the branch)",
            structure["triggers"][0]["gitConfiguration"]["push"][0]["branches"]["includes"]
                .as_array()
                .is_some_and(|all| all.len() == 1),
            &structure["triggers"].to_string(),
        );
        let region = &structure["stages"][0]["actions"][0]["region"];
        claim(
            "added_region is off (GetPipeline adds no `region`)",
            region.is_null(),
            &region.to_string(),
        );
        println!("        GetPipeline's metadata: {}", got["metadata"]);
        let mut details = Value::Null;
        for _ in 0..24 {
            details = (self.aws)(&[
                "codepipeline",
                "list-action-executions",
                "--pipeline-name",
                &name,
            ])?["actionExecutionDetails"][0]
                .clone();
            if details["status"] == "Failed" {
                break;
            }
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
        let result = &details["output"]["executionResult"];
        claim(
            "failure_codes (a failed action has a code beside its words)",
            result["errorDetails"]["code"].is_string(),
            &result.to_string(),
        );
        println!(
            "        withheld_as_missing_branch takes a person: authorize a connection, take the \
             repository from the AWS Connector app, start a pipeline, and compare its words with \
             \"No Branch [...] found for FullRepositoryName [...]\""
        );
        Ok(())
    }
}
