//! Asks the API server whether a user may do something: RBAC decides who grants exceptions and who sees decisions, not
//! the gate.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::Client;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use tokio::time::Instant;

use super::error::{ReadError, within};

/// A user, as the API server authenticated it: what may be done can hang on each of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub username: String,
    /// UID, where the authenticator gives one.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// What else the authenticator says.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Whether a user may do something in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The user may.
    Granted,
    /// The user may not.
    Missing,
    /// It could not be told, which is no permission.
    Unknown(String),
}

/// Asks about permissions on `gateexceptions` and `decisions`.
#[derive(Clone)]
pub struct Authorizer {
    client: Client,
}

impl Authorizer {
    /// Asks this API server.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Whether the user may do `verb` in each of some namespaces, asked side by side until the deadline.
    pub async fn may(&self, user: &User, verb: &str, namespaces: &[&str], deadline: Instant) -> Vec<Permission> {
        let each = namespaces.iter().map(|namespace| {
            let what = format!("the permission {verb} in namespace {namespace:?}");
            self.ask(user, ("gateexceptions", verb, Some(*namespace)), what, deadline)
        });
        join_all(each).await
    }

    /// Whether the user may `list` or `get` the recorded decisions of a namespace; of all of them, where none is named.
    pub async fn may_see_decisions(
        &self,
        user: &User,
        verb: &str,
        namespace: Option<&str>,
        deadline: Instant,
    ) -> Permission {
        let what = match namespace {
            Some(namespace) => format!("the permission to {verb} decisions in namespace {namespace:?}"),
            None => format!("the permission to {verb} decisions in all namespaces"),
        };
        self.ask(user, ("decisions", verb, namespace), what, deadline).await
    }

    async fn ask(
        &self,
        user: &User,
        (resource, verb, namespace): (&str, &str, Option<&str>),
        what: String,
        deadline: Instant,
    ) -> Permission {
        let review = SubjectAccessReview {
            metadata: ObjectMeta::default(),
            spec: SubjectAccessReviewSpec {
                user: Some(user.username.clone()),
                uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("freshgate.dev".to_owned()),
                    resource: Some(resource.to_owned()),
                    verb: Some(verb.to_owned()),
                    namespace: namespace.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            status: None,
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        permission(
            within(deadline, &what, api.create(&PostParams::default(), &review)).await.map(|answer| answer.status),
        )
    }
}

fn permission(answer: Result<Option<SubjectAccessReviewStatus>, ReadError>) -> Permission {
    match answer {
        Ok(Some(status)) if status.denied == Some(true) => Permission::Missing,
        Ok(Some(status)) if status.allowed => Permission::Granted,
        // An authorizer that failed may have been the one that would have said yes.
        Ok(Some(SubjectAccessReviewStatus { evaluation_error: Some(error), .. })) if !error.is_empty() => {
            Permission::Unknown(error)
        }
        Ok(Some(_)) => Permission::Missing,
        Ok(None) => Permission::Unknown("the API server gave no answer".to_owned()),
        Err(error) => Permission::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_a_permission() {
        let status = |allowed, denied, error: &str| {
            permission(Ok(Some(SubjectAccessReviewStatus {
                allowed,
                denied,
                evaluation_error: Some(error.to_owned()).filter(|error| !error.is_empty()),
                reason: None,
            })))
        };
        assert_eq!(status(true, None, ""), Permission::Granted);
        assert_eq!(status(true, None, "another role is missing"), Permission::Granted);
        assert_eq!(status(true, Some(true), ""), Permission::Missing);
        assert_eq!(status(false, None, ""), Permission::Missing);
        assert_eq!(status(false, None, "webhook down"), Permission::Unknown("webhook down".to_owned()));
        assert_eq!(permission(Ok(None)), Permission::Unknown("the API server gave no answer".to_owned()));
        let late = ReadError::TimedOut { what: "the permission grant-other in namespace \"shop\"".to_owned() };
        assert_eq!(
            permission(Err(late)),
            Permission::Unknown(
                "the API server did not answer in time when asked for the permission grant-other in namespace \"shop\""
                    .to_owned()
            )
        );
    }
}
