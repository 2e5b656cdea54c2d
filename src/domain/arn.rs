//! Amazon Resource Names: their parts, and the patterns that settings hold.

/// The parts of an ARN, borrowed.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    /// Such as `aws` or `aws-cn`.
    pub partition: &'a str,
    /// Such as `sns`.
    pub service: &'a str,
    /// Empty for global services.
    pub region: &'a str,
    /// Empty for S3.
    pub account: &'a str,
    /// Everything behind the fifth colon.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// The parts of `text`, or nothing if it has not six of them.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        match [
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
        ] {
            ["arn", partition, service, region, account, resource] => Some(Self {
                partition,
                service,
                region,
                account,
                resource,
            }),
            _ => None,
        }
    }
}

/// ARN of a bucket.
pub fn bucket(partition: &str, name: &str) -> String {
    format!("arn:{partition}:s3:::{name}")
}

/// ARN of an IAM policy of the account; a name that is an ARN already stays.
pub fn policy(partition: &str, account: &str, name: &str) -> String {
    if name.starts_with("arn:") {
        name.to_owned()
    } else {
        format!("arn:{partition}:iam::{account}:policy/{name}")
    }
}

/// `text` without the ARNs that are not among `own`: AWS's messages may name
/// what belongs to other namespaces.
pub fn filter(text: &str, own: &[&str]) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ":/_.-*+=@".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("arn:") {
        let (before, tail) = rest.split_at(start);
        let end = tail.find(|c| !is_part(c)).unwrap_or(tail.len());
        let (found, after) = tail.split_at(end);
        let arn = found.trim_end_matches(['.', ':']);
        out.push_str(before);
        let is_own = own
            .iter()
            .any(|o| arn == *o || arn.strip_prefix(*o).is_some_and(|r| r.starts_with('/')));
        out.push_str(if is_own { arn } else { "(another ARN)" });
        out.push_str(&found[arn.len()..]);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_arns_are_filtered_and_own_ones_kept() {
        let own = "arn:aws:iam::111122223333:role/repofanout/rf-a";
        let text = format!(
            "User: arn:aws:sts::111122223333:assumed-role/x/y may not PassRole on {own}. See \
                 arn:aws:s3:::b, now"
        );
        assert_eq!(
            filter(&text, &[own]),
            format!("User: (another ARN) may not PassRole on {own}. See (another ARN), now")
        );
    }
}
