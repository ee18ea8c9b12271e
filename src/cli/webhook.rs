//! `freshgate webhook test`: proves by dry runs that the API server asks the gate, and that the gate refuses and admits.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::output::print;
use super::{Failure, NO, OK};
use crate::args::WebhookTestArgs;
use crate::cluster;

/// The pause between two tries.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long the API server may take for one, the longest time-out of a webhook included.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);
/// By a tag, which a policy that wants digests refuses without asking a registry.
const REFUSED: &str = "freshgate.invalid/refused:latest";
/// By a digest, of which nothing can be known; such a policy lets it pass.
const ADMITTED: &str =
    "freshgate.invalid/admitted@sha256:4f1c3b1dd0f0cf0a5d6a1e0b8a4d4c7a6ab2a4e7f3e3b58d7c6f2d0e9b8a7c61";

/// What the API server made of one.
enum Said {
    Admitted,
    /// The gate refused it, by the policy: its words.
    Refused(String),
    /// Something else came in between: its words.
    Otherwise(String),
}

/// Tries both; see [`WebhookTestArgs`].
pub async fn test(args: WebhookTestArgs) -> Result<u8, Failure> {
    let client = cluster::connect(None).await.map_err(Failure::of)?;
    let api: Api<Deployment> = Api::namespaced(client, &args.namespace);
    let until = Instant::now() + Duration::from_secs(args.timeout_seconds);
    let refusal = loop {
        let instead = match create(&api, &args, "freshgate-test-refused", REFUSED).await? {
            Said::Refused(words) => break Ok(words),
            Said::Admitted => "it was admitted".to_owned(),
            Said::Otherwise(words) => words,
        };
        if Instant::now() >= until {
            break Err(instead);
        }
        sleep(AGAIN_AFTER).await;
    };
    match refusal {
        Ok(words) => print(&format!("refused, as it must be: {}\n", words.lines().next().unwrap_or_default()))?,
        Err(instead) => {
            print(&format!(
                "not refused within {} seconds, as it must be: {instead}\nlook at the gate's log, at `kubectl get validatingwebhookconfigurations`, and whether GatePolicy {:?} is accepted\n",
                args.timeout_seconds, args.policy
            ))?;
            return Ok(NO);
        }
    }
    match create(&api, &args, "freshgate-test-admitted", ADMITTED).await? {
        Said::Admitted => {
            print("admitted, as it must be\n")?;
            Ok(OK)
        }
        Said::Refused(words) | Said::Otherwise(words) => {
            print(&format!(
                "not admitted, as it must be: {words}\nlook at the policies that match namespace {:?}, and at other webhooks\n",
                args.namespace
            ))?;
            Ok(NO)
        }
    }
}

async fn create(api: &Api<Deployment>, args: &WebhookTestArgs, name: &str, image: &str) -> Result<Said, Failure> {
    let object: Deployment = serde_json::from_value(deployment(name, image)).map_err(Failure::of)?;
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let created = tokio::time::timeout(ANSWER_WITHIN, api.create(&parameters, &object)).await;
    let status = match created {
        Err(_) => return Ok(Said::Otherwise("the API server did not answer in time".to_owned())),
        Ok(Ok(_)) => return Ok(Said::Admitted),
        Ok(Err(kube::Error::Api(status))) => status,
        Ok(Err(error)) => {
            return Err(Failure::of(error).hint("KUBECONFIG or the Pod's service account says which cluster is asked"));
        }
    };
    let message = status.message.clone();
    let by_the_gate = message.contains("webhook \"workloads.freshgate.dev\" denied the request");
    if status.code == 403 && by_the_gate && message.contains(&format!("policy {:?}", args.policy)) {
        return Ok(Said::Refused(message));
    }
    // RBAC's own words; those of a webhook name it.
    if status.code == 401 || (status.code == 403 && message.contains("cannot create resource")) {
        return Err(Failure::new(format!(
            "{message}; let the account create deployments.apps in {:?}",
            args.namespace
        )));
    }
    Ok(Said::Otherwise(message))
}

/// One that Pod security lets pass at its strictest.
fn deployment(name: &str, image: &str) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "automountServiceAccountToken": false,
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65_532, "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [{
                        "name": "app", "image": image,
                        "securityContext": {
                            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                            "readOnlyRootFilesystem": true,
                        },
                    }],
                },
            },
        },
    })
}
