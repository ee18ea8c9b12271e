//! The images that a Pod template names, as references: what an owner's templates are compared by.

use serde_json::Value;

const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// All image references of a Pod template (or a Pod), as written, sorted, each once.
pub fn image_references(template: &Value) -> Vec<String> {
    let spec = &template["spec"];
    let containers =
        CONTAINER_LISTS.iter().filter_map(|list| spec[list].as_array()).flatten().map(|container| &container["image"]);
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let volumes = volumes.map(|volume| &volume["image"]["reference"]);
    let mut references: Vec<String> = containers
        .chain(volumes)
        .filter_map(Value::as_str)
        .filter(|reference| !reference.is_empty())
        .map(str::to_owned)
        .collect();
    references.sort_unstable();
    references.dedup();
    references
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_place_of_an_image_is_found() {
        let template = json!({"spec": {
            "containers": [{"name": "app", "image": "b"}, {"name": "again", "image": "b"}],
            "initContainers": [{"name": "init", "image": "a"}],
            "ephemeralContainers": [{"name": "debug", "image": "d"}],
            "volumes": [
                {"name": "models", "image": {"reference": "c"}},
                {"name": "data", "emptyDir": {}}
            ]
        }});
        assert_eq!(image_references(&template), ["a", "b", "c", "d"]);
    }

    #[test]
    fn what_is_no_template_names_no_image() {
        for value in
            [json!(null), json!({"spec": null}), json!({"spec": {"containers": [{"name": "x"}, 3, {"image": ""}]}})]
        {
            assert_eq!(image_references(&value), Vec::<String>::new());
        }
    }
}
