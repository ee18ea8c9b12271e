//! Flags and the environment variables beside them: both are read alike, and what is wrong names both.

use clap::CommandFactory as _;

use super::*;
use crate::cluster::process::{Process, free_ports};

/// The program with these variables; its exit code and stderr.
fn with(variables: &[(&str, &str)], args: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM)
        .args(args)
        .envs(variables.iter().copied())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_flag_of_serve_has_a_variable_that_is_read() {
    let program = freshgate::args::Cli::command();
    let serve = program.find_subcommand("serve").unwrap();
    let flags: Vec<_> =
        serve.get_arguments().filter(|flag| flag.get_id() != "help" && flag.get_id() != "version").collect();
    assert!(flags.len() > 20, "{}", flags.len());
    let mut variables = Vec::new();
    for flag in flags {
        let name = flag.get_env().and_then(|name| name.to_str());
        let name = name.unwrap_or_else(|| panic!("{flag} has no environment variable"));
        assert!(name.starts_with("FRESHGATE_") || name.starts_with("OTEL_EXPORTER_OTLP_"), "{flag}: {name}");
        // What may hold a password is not shown.
        let is_shown = !flag.is_hide_env_values_set();
        variables.push((name, format!("set-for-{}", flag.get_id()), is_shown));
    }
    let output = Command::new(PROGRAM)
        .args(["serve", "--help"])
        .envs(variables.iter().map(|(name, value, _)| (name, value)))
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, value, is_shown) in variables {
        let shown = if is_shown { format!("[env: {name}={value}]") } else { format!("[env: {name}]") };
        assert!(help.contains(&shown), "{name} is not read: {help}");
        assert!(is_shown || !help.contains(&value), "{help}");
    }
    assert!(!help.contains('`'), "{help}");
}

#[test]
fn what_a_variable_says_counts_and_not_that_it_is_there() {
    let folder = policies(POLICY);
    let folder = folder.path().display().to_string();
    let base = ["serve", "--store", "stdout", "--policies", &folder];
    let no_certificate = "error: there is no certificate to serve with: give --tls-cert and --tls-key (FRESHGATE_TLS_CERT and FRESHGATE_TLS_KEY), in a cluster --tls-secret (FRESHGATE_TLS_SECRET), or, for development, --tls-self-signed (FRESHGATE_TLS_SELF_SIGNED=true)\nhint: freshgate serve --help says more\n";
    for no in ["false", "no", "0", "off"] {
        assert_eq!(with(&[("FRESHGATE_TLS_SELF_SIGNED", no)], &base), (2, no_certificate.to_owned()), "{no}");
        // It gets as far as reading the certificate.
        let files = ["--tls-cert", "/no/such/tls.crt", "--tls-key", "/no/such/tls.key"];
        let variables = [("FRESHGATE_TLS_SELF_SIGNED", no), ("FRESHGATE_KUBERNETES", no)];
        let (code, stderr) = with(&variables, &[&base[..], &files].concat());
        assert_eq!(code, 2, "{no}");
        assert!(stderr.contains("/no/such/tls.crt"), "{no}: {stderr}");
    }
    for yes in ["true", "yes", "1", "on"] {
        let (code, stderr) = with(&[("FRESHGATE_KUBERNETES", yes), ("FRESHGATE_TLS_SELF_SIGNED", yes)], &base);
        assert_eq!(code, 2, "{yes}");
        assert!(
            stderr.starts_with("error: policies come from a folder or from the cluster, not from both"),
            "{stderr}"
        );
    }
    let (code, stderr) = with(&[("FRESHGATE_LOG_JSON", "maybe")], &base);
    assert_eq!(code, 2);
    assert!(stderr.contains("'maybe' for '--log-json': write true or false"), "{stderr}");
    assert!(stderr.ends_with("hint: the value comes from the environment variable FRESHGATE_LOG_JSON\n"), "{stderr}");
    let (_, stderr) = with(&[("FRESHGATE_LISTEN", "8443")], &base);
    assert!(stderr.ends_with("hint: the value comes from the environment variable FRESHGATE_LISTEN\n"), "{stderr}");
    let (_, stderr) = with(&[("FRESHGATE_LISTEN", "8443")], &[&base[..], &["--listen", "8443"]].concat());
    assert!(!stderr.contains("environment"), "it was typed: {stderr}");
}

#[test]
fn serve_starts_by_variables_alone() {
    let folder = policies(POLICY);
    let [port, admin_port] = free_ports();
    let place = |name: &str| folder.path().join(name);
    let mut command = Command::new(PROGRAM);
    command
        .arg("serve")
        .env("FRESHGATE_POLICIES", folder.path())
        .env("FRESHGATE_KUBERNETES", "false")
        .env("FRESHGATE_LISTEN", format!("127.0.0.1:{port}"))
        .env("FRESHGATE_ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
        .env("FRESHGATE_STORE", format!("sqlite:{}", place("gate.db").display()))
        .env("FRESHGATE_TLS_SELF_SIGNED", "yes")
        .env("FRESHGATE_TLS_WRITE_CERT", place("gate.pem"))
        .env("FRESHGATE_LOG_JSON", "1");
    let mut process = Process::start("freshgate", folder.path(), &mut command);
    process.wait_until(|| crate::cluster::process::listens(admin_port) && place("gate.pem").exists());
    process.wait_until(|| process_says(&place("freshgate.log"), "\"message\":\"reviews are answered\""));
}

fn process_says(log: &Path, words: &str) -> bool {
    std::fs::read_to_string(log).unwrap().contains(words)
}

#[test]
fn values_that_would_do_nothing_or_harm_are_refused() {
    let folder = policies(POLICY);
    let folder = folder.path().display().to_string();
    let check = ["check", "-f", "-", "--policies", &folder];
    for (args, told) in [
        (
            &["--insecure-registry", "http://127.0.0.1:1"][..],
            "a registry is named by its host alone, without a scheme or a path: write 127.0.0.1:1",
        ),
        (&["--timeout-seconds", "18446744073709551615"], "18446744073709551615 is not in 1..=3600"),
        (&["--timeout-seconds", "0"], "0 is not in 1..=3600"),
    ] {
        for command in [&check[..], &["inspect", "registry.example/x:1"]] {
            let (code, stderr) = with(&[], &[command, args].concat());
            assert_eq!(code, 2, "{args:?}: {stderr}");
            assert!(stderr.contains(told), "{args:?}: {stderr}");
        }
    }
    let (code, stderr) = with(&[], &["check", "-f", "-", "--policies", "/no/such/folder"]);
    assert_eq!(code, 2);
    assert!(!stderr.contains("policy lint"), "{stderr}");
}
