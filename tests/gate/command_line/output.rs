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

/// What a person sees: the program on a terminal of its own, with these variables.
pub fn on_a_terminal(variables: &[(&str, &str)], args: &[&str]) -> String {
    let command: Vec<String> =
        std::iter::once(&PROGRAM).chain(args).map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    let output = Command::new("script")
        .args(["-qec", &command.join(" "), "/dev/null"])
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn colour_and_progress_are_for_a_terminal() {
    let folder = policies(POLICY);
    let manifests = folder.path().join("manifests");
    std::fs::write(&manifests, pod("x", "169.254.169.254/x:1")).unwrap();
    let (folder, manifests) = (folder.path().display().to_string(), manifests.display().to_string());
    let check = ["check", "-f", &manifests, "--policies", &folder];
    let (red, plain) = ("\u{1b}[1m\u{1b}[31mdeny\u{1b}[0m Pod default/x", "deny Pod default/x");

    let seen = on_a_terminal(&[], &check);
    assert!(seen.contains(red), "{seen:?}");
    assert!(seen.contains("checking 0/1"), "{seen:?}");
    assert!(!seen.contains('█') && !seen.contains('░'), "no bar across the screen: {seen:?}");
    let seen = on_a_terminal(&[("NO_COLOR", "1")], &check);
    assert!(seen.contains(plain) && !seen.contains("\u{1b}[31m"), "{seen:?}");
    let seen = on_a_terminal(&[], &["audit", "show", "x", "--store", "sqlite:/no/such/file"]);
    assert!(seen.contains("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m there is no store"), "{seen:?}");

    let output = Command::new(PROGRAM).args(check).env_remove("NO_COLOR").stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stdout.starts_with(plain) && !stdout.contains('\u{1b}'), "into a pipe: {stdout:?}");
    assert_eq!(stderr, "", "no progress where nobody watches");
}
