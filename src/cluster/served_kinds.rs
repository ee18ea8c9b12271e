//! Which of the kinds beside Kubernetes' own a cluster serves, and by what name: a rule for a kind that is not there would
//! name nothing.

use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use super::error::{ReadError, within};
use super::resources::built_in;
use crate::subject::kinds::WorkloadKinds;
use crate::webhook::ServedKind;

/// How long all answers may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Those that are served now.
pub(super) async fn served(client: &Client, kinds: &WorkloadKinds) -> Result<Vec<ServedKind>, ReadError> {
    let until = Instant::now() + ANSWER_WITHIN;
    let groups = within(until, "the groups of the API", client.list_api_groups()).await?.groups;
    let mut found = Vec::new();
    for kind in kinds.iter().filter(|kind| built_in(&kind.group, &kind.kind).is_none()) {
        let versions = groups.iter().filter(|group| group.name == kind.group).flat_map(|group| &group.versions);
        for version in versions {
            let what = format!("the resources of {}", version.group_version);
            let list = within(until, &what, client.list_api_group_resources(&version.group_version)).await?;
            // A name with a slash is a part of an object.
            let resource = list.resources.into_iter().find(|one| one.kind == kind.kind && !one.name.contains('/'));
            if let Some(resource) = resource {
                found.push(ServedKind { kind: kind.clone(), resource: resource.name });
                break;
            }
        }
    }
    Ok(found)
}
