//! The old image in every place that a template has, through everything that is done to a workload.

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, allowed, deployment, job, pod, template};
use crate::cluster::control_plane::wait_for;

pub const SCENARIOS: &[Scenario] = &[
    ("the_old_image_is_refused_in_every_place_by_every_way_in", refused),
    ("what_runs_the_old_image_in_any_place_goes_on", running),
];

/// A place, the name of what stands in it, and how a template gets an image there beside the fresh one.
type Place = (&'static str, &'static str, fn(&mut Value, &str));

const PLACES: [Place; 4] = [
    ("container", "app", |spec, image| spec["containers"][0]["image"] = json!(image)),
    ("container", "side", |spec, image| {
        spec["containers"].as_array_mut().unwrap().push(json!({"name": "side", "image": image}));
    }),
    ("init container", "migrate", |spec, image| spec["initContainers"] = json!([{"name": "migrate", "image": image}])),
    ("image volume", "models", |spec, image| {
        spec["volumes"] = json!([{"name": "models", "image": {"reference": image}}]);
    }),
];

fn spec_of(object: &mut Value) -> &mut Value {
    if object["kind"] == "Pod" { &mut object["spec"] } else { &mut object["spec"]["template"]["spec"] }
}

fn placed(mut object: Value, place: &Place, image: &str) -> Value {
    (place.2)(spec_of(&mut object), image);
    object
}

fn refused(bed: &Bed) {
    bed.production("refused");
    for (number, place) in PLACES.iter().enumerate() {
        let (words, name, _) = place;
        let named = |what: &str| format!("{what}-{number}");
        // Created, as a dry run too, and as a Pod or a Job of its own.
        let old = |object: Value| placed(object, place, &bed.old);
        bed.denied(&bed.create("refused", &old(deployment(&named("made"), &bed.fresh))), words, name);
        bed.denied(&bed.create("refused", &old(pod(&named("pod"), &bed.fresh))), words, name);
        bed.denied(&bed.create("refused", &old(job(&named("job"), &bed.fresh))), words, name);
        let dry = old(deployment(&named("dry"), &bed.fresh)).to_string();
        let said = bed.plane.kubectl_as("admin", &["-n", "refused", "create", "--dry-run=server", "-f", "-"], &dry);
        assert!(!said.success && said.stderr.contains(&format!("({words} {name:?})")), "{}", said.stderr);
        // Updated, while it is being deleted too.
        let updated = named("updated");
        let mut object = deployment(&updated, &bed.fresh);
        object["metadata"]["finalizers"] = json!(["example.com/hold"]);
        allowed(&bed.create("refused", &object));
        let apply = |object: &Value| {
            bed.plane.kubectl_as("admin", &["-n", "refused", "replace", "-f", "-"], &object.to_string())
        };
        bed.denied(&apply(&old(object.clone())), words, name);
        assert!(bed.plane.kubectl(&["-n", "refused", "delete", "deployment", &updated, "--wait=false"]).success);
        bed.denied(&apply(&old(object)), words, name);
        allowed(&bed.patch("refused", &format!("deployment/{updated}"), &json!({"metadata": {"finalizers": null}})));
        // By a controller that is not there.
        let mut forged = old(pod(&named("forged"), &bed.fresh));
        forged["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "absent",
            "uid": "00000000-0000-0000-0000-000000000000", "controller": true}]);
        bed.denied(&bed.create("refused", &forged), words, name);
    }
}

/// Law 1, in every place.
fn running(bed: &Bed) {
    let name = |number: usize| format!("app-{number}");
    let objects = PLACES.iter().enumerate().flat_map(|(number, place)| {
        let mut work = placed(job(&format!("work-{number}"), &bed.fresh), place, &bed.old);
        work["spec"]["backoffLimit"] = json!(3);
        [placed(deployment(&name(number), &bed.fresh), place, &bed.old), work]
    });
    bed.with_history("running-places", &objects.collect::<Vec<_>>());
    for (number, place) in PLACES.iter().enumerate() {
        let target = format!("deployment/{}", name(number));
        let kubectl = |args: &[&str]| {
            let all: Vec<&str> = ["-n", "running-places"].into_iter().chain(args.iter().copied()).collect();
            bed.plane.kubectl(&all)
        };
        allowed(&kubectl(&["scale", &target, "--replicas=2"]));
        allowed(&kubectl(&["rollout", "restart", &target]));
        allowed(&bed.patch(
            "running-places",
            &target,
            &json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 45}}}}),
        ));
        // Forward to the fresh image in that place, and back.
        let before = bed.get("running-places", &target);
        let mut fresh = template(&bed.fresh)["spec"].clone();
        (place.2)(&mut fresh, &bed.fresh_too);
        let mut after = before.clone();
        for field in ["containers", "initContainers", "volumes"] {
            if !fresh[field].is_null() {
                after["spec"]["template"]["spec"][field] = fresh[field].clone();
            }
        }
        let replace = |object: &Value| {
            let mut object = object.clone();
            object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
            let once =
                || bed.plane.kubectl_as("admin", &["-n", "running-places", "replace", "-f", "-"], &object.to_string());
            let said = once();
            // A controller may write between what kubectl reads and what it writes.
            if said.stderr.contains("(Conflict)") { once() } else { said }
        };
        allowed(&replace(&after));
        let warnings = allowed(&replace(&before));
        assert!(warnings[0].contains("a rollback passes"), "{}: {warnings:?}", place.0);
        // A Job's next try.
        let work = format!("work-{number}");
        let pods = || kubectl(&["get", "pods", "-l", &format!("job-name={work}"), "-o", "name"]).stdout;
        wait_for("the first Pod", || !pods().is_empty());
        let first = pods().lines().next().unwrap().to_owned();
        kubectl(&["delete", &first, "--force", "--grace-period=0"]);
        wait_for("the next try", || pods().lines().any(|pod| pod != first));
    }
}
