//! Asks the API server whose token this is. The gate keeps no token and no answer: one that is revoked ends at once.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Client;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use tokio::time::Instant;

use super::authorization::User;
use super::error::{ReadError, within};

/// Asks about tokens.
#[derive(Clone)]
pub struct Authenticator {
    client: Client,
}

impl Authenticator {
    /// Asks this API server.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Whose bearer token this is; `None` where the API server does not know it (any more).
    pub async fn whose(&self, token: &str, deadline: Instant) -> Result<Option<User>, ReadError> {
        let review = TokenReview {
            metadata: ObjectMeta::default(),
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
            status: None,
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = within(deadline, "the owner of a token", api.create(&PostParams::default(), &review)).await?;
        Ok(answer.status.and_then(user))
    }
}

fn user(status: TokenReviewStatus) -> Option<User> {
    let is_known = status.authenticated == Some(true) && status.error.is_none_or(|error| error.is_empty());
    let user = status.user.filter(|_| is_known)?;
    Some(User {
        username: user.username.filter(|name| !name.is_empty())?,
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    #[test]
    fn only_a_clear_answer_is_a_user() {
        let status = |authenticated, name: &str, error: &str| {
            user(TokenReviewStatus {
                authenticated,
                audiences: None,
                error: Some(error.to_owned()).filter(|error| !error.is_empty()),
                user: Some(UserInfo { username: Some(name.to_owned()), ..UserInfo::default() }),
            })
        };
        let jane = User { username: "jane".to_owned(), ..User::default() };
        assert_eq!(status(Some(true), "jane", ""), Some(jane));
        for (authenticated, name, error) in
            [(Some(false), "jane", ""), (None, "jane", ""), (Some(true), "", ""), (Some(true), "jane", "expired")]
        {
            assert_eq!(status(authenticated, name, error), None);
        }
    }
}
