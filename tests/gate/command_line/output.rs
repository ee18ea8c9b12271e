//! Where results go: a full disk is an error, a reader that has had enough changes no answer.

use super::*;

const FULL: &str = "error: the result cannot be written to standard output: No space left on device (os error 28)\n\
                    hint: give it a file with room, or a terminal, and ask again\n";

#[test]
fn what_cannot_be_written_is_an_error_and_a_closed_pipe_changes_no_answer() {
    let folder = policies(POLICY);
    let folder = folder.path().display().to_string();
    let manifests = tempfile::tempdir().unwrap();
    let old = manifests.path().join("pod.yaml");
    // Refused without asking anybody: the policy denies what has no known date.
    std::fs::write(&old, pod("x", "169.254.169.254/x:1")).unwrap();
    let old = old.display().to_string();
    for (args, answer) in [
        (&["check", "-f", &old, "--policies", &folder][..], 1),
        (&["check", "-f", &old, "--policies", &folder, "-o", "json"], 1),
        (&["inspect", "169.254.169.254/x:1"], 1),
        (&["policy", "lint", &folder], 0),
        (&["crds"], 0),
        (&["completions", "bash"], 0),
        (&["completions", "fish"], 0),
        (&["--help"], 0),
        (&["--version"], 0),
    ] {
        assert_eq!(run_into(full(), args), (2, FULL.to_owned()), "{args:?}");
        assert_eq!(run_into(closed_pipe(), args), (answer, String::new()), "{args:?}");
    }
}
