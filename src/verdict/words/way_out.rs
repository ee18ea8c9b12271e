//! What the reader of a denial can do now; it fits the case.

use crate::evidence::UnknownReason;
use crate::image::build_date::Source;
use crate::image::reference::ImageReference;
use crate::subject::Subject;
use crate::verdict::{About, Finding, Found, ImageFinding};

/// The ways out of some denials, each once; where there are several, each says for which containers it is.
pub fn ways_out(denials: &[&Finding], subject: Option<&Subject>) -> Vec<String> {
    let mut ways: Vec<(String, Vec<&str>)> = Vec::new();
    for finding in denials {
        let (way, name) = match &finding.about {
            About::Image(about) => (way_out(about), about.image.name.as_str()),
            About::Budget(_) => (way_around_a_freeze(subject), "error budget"),
        };
        match ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, names)) if names.contains(&name) => {}
            Some((_, names)) => names.push(name),
            None => ways.push((way, vec![name])),
        }
    }
    if ways.len() < 2 {
        return ways.into_iter().map(|(way, _)| way).collect();
    }
    ways.into_iter().map(|(way, names)| format!("{}: {way}", names.join(", "))).collect()
}

/// What a freeze lets through, and how somebody with the right to do so makes an exception.
fn way_around_a_freeze(subject: Option<&Subject>) -> String {
    let target = subject.map_or_else(
        || "NAMESPACE/KIND/NAME".to_owned(),
        |subject| format!("{}/{}/{}", subject.namespace, subject.kind, subject.name),
    );
    format!(
        "Rollbacks, restarts, scaling and changes of resources, probes and scheduling pass meanwhile. For a fix that cannot wait, whoever may grant it makes an exception: freshgate exception new --target {target} --rule errorBudget --reason reliability-fix"
    )
}

fn way_out(finding: &ImageFinding) -> String {
    match &finding.found {
        Found::TooOld { source: Source::FirstSeen, .. } => {
            "It has no date of its own to go by, and a reproducible rebuild keeps its digest: update what it is built from, deploy the new digest, and let the build write its date (SOURCE_DATE_EPOCH).".to_owned()
        }
        Found::TooOld { .. } | Found::Ageing { .. } if is_of_docker_official(finding) => {
            "Deploy a newer tag of it; a rollback to a version that ran before is allowed.".to_owned()
        }
        Found::TooOld { .. } | Found::Ageing { .. } => {
            "Rebuild it and deploy the new digest; a rollback to a version that ran before is allowed.".to_owned()
        }
        Found::MovedTag => {
            "Restart with the digest that ran here before, or give the new image a tag or digest of its own: it is then judged as a new image.".to_owned()
        }
        Found::NotByDigest => {
            format!("Name it by digest: {}.", pinned(&finding.image.image, finding.digest.as_deref()))
        }
        Found::Unknown { reason, .. } => match reason {
            UnknownReason::NoDate => "Give it its build date: SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) with ko or BuildKit, jib.container.creationTime=USE_CURRENT_TIMESTAMP, pack build --creation-time now, or the annotation org.opencontainers.image.created; then deploy the new digest.".to_owned(),
            UnknownReason::Unreachable => "Try again when the registry answers; a version that ran here before is allowed meanwhile.".to_owned(),
            UnknownReason::Unauthorized => "Give the gate credentials for this registry (imagePullSecrets of the workload, or the gate's own docker config).".to_owned(),
            UnknownReason::NotFound => "Push the image first, or correct its name.".to_owned(),
            UnknownReason::NotAllowed => "Use an image of a registry that is allowed here, or ask for this one to be added.".to_owned(),
            UnknownReason::RateLimited => "Try again in a few minutes: the registry limits how often it may be asked.".to_owned(),
            UnknownReason::InvalidReference => "Correct the image's name: [registry/]repository[:tag][@sha256:…].".to_owned(),
            UnknownReason::IntegrityFailure => "Have the registry looked at before anything is pulled from it: rebuilding does not help.".to_owned(),
        },
    }
}

fn is_of_docker_official(finding: &ImageFinding) -> bool {
    ImageReference::parse(&finding.image.image).is_ok_and(|image| image.name().starts_with("docker.io/library/"))
}

/// The image by digest alone, as it could be written instead.
fn pinned(written: &str, digest: Option<&str>) -> String {
    let digest = digest.unwrap_or("sha256:…");
    ImageReference::parse(written).map_or_else(|_| digest.to_owned(), |image| image.pinned(digest))
}
