//! Hosts, users, ports and commands: taken apart before any process is started.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use secret_gate_core::ExactHost;
use secret_gate_core::ssh::{Login, LoginError};

use crate::support::Place;

#[test]
fn takes_user_and_host_apart() {
    for (target, user, host) in [
        ("prod", None, "prod"),
        ("deploy@prod.example.com", Some("deploy"), "prod.example.com"),
        ("a.b-c_d+e@x", Some("a.b-c_d+e"), "x"),
        ("prod_1.example.com.", None, "prod_1.example.com."),
        ("10.0.0.7", None, "10.0.0.7"),
        ("u@[::1]", Some("u"), "::1"),
        ("u@fe80::1", Some("u"), "fe80::1"),
        ("[::ffff:10.0.0.7]", None, "::ffff:10.0.0.7"),
        ("xn--bcher-kva.example", None, "xn--bcher-kva.example"),
        ("3com.example", None, "3com.example"),
    ] {
        let login = Login::parse(target).unwrap();
        assert_eq!((login.user(), login.host(), login.port(), login.command()), (user, host, None, None), "{target}");
    }
}

#[test]
fn refuses_what_is_no_host() {
    let long = "x".repeat(1000);
    let bad = [
        "",
        "-oProxyCommand=touch x",
        "-v",
        "--",
        "host;cmd",
        "host cmd",
        "user@host -v",
        "user@-v",
        "-l@host",
        "@host",
        "user@",
        "u@v@host",
        "user@host\n-oProxyCommand=x",
        "host\r",
        "host\0",
        "host\t",
        "host$(id)",
        "host`id`",
        "host|cmd",
        "host&cmd",
        "host>x",
        "host'",
        "host\"",
        "host\\x",
        "host/x",
        "host%h",
        "host,other",
        "host*",
        "!host",
        "ssh://host",
        "host:22",
        "user:pass@host",
        "us er@host",
        "$USER@host",
        "user%h@host",
        "[host]",
        "[::1",
        "::1]",
        "[::1]:22",
        "fe80::1%eth0",
        "[]",
        ":",
        ".",
        "..",
        ".host",
        "host..example",
        // look-alikes and what can't be seen
        "hоst",
        "host．example",
        "bücher.example",
        "ho\u{200b}st",
        "host\u{202e}",
        "１０.0.0.7",
        "🔑",
        // other ways to write 10.0.0.7
        "167772167",
        "0x0a000007",
        "10.7",
        "010.0.0.7",
        "10.0.0.256",
        "10.0.0.0x7",
        &long,
    ];
    for target in bad {
        match Login::parse(target) {
            Err(error @ LoginError::Target { .. }) => {
                // what to do is said, and what was given is not repeated
                let message = error.to_string();
                assert!(target.len() < 8 || !message.contains(target), "{message}");
            }
            other => panic!("{target:?}: {other:?}"),
        }
    }
    assert!(Login::parse("bücher.example").unwrap_err().to_string().contains("punycode"));
    assert!(Login::parse(&format!("{}@host", "u".repeat(65))).is_err());
    assert!(Login::parse(&"x".repeat(253)).is_ok() && Login::parse(&"x".repeat(254)).is_err());
}

#[test]
fn refuses_what_is_no_port_or_command() {
    let login = || Login::parse("host").unwrap();
    assert!(matches!(login().with_port(0), Err(LoginError::Port)));
    assert_eq!(login().with_port(65535).unwrap().port(), Some(65535));
    for bad in ["", "  ", "a\0b", "-oProxyCommand=x", "-c", &"x".repeat(64 * 1024 + 1)] {
        assert!(matches!(login().with_command(bad), Err(LoginError::Command { .. })));
    }
    assert_eq!(login().with_command("echo \"ü\"\nid").unwrap().command(), Some("echo \"ü\"\nid"));
}

#[test]
fn what_was_approved_is_checked_as_strictly() {
    let exact = |host: &str| ExactHost::new(host);
    for host in ["-v", "a;b", "a b", "u@h", "", "hоst", "10.7", "a%h"] {
        assert!(Login::exactly(&exact(host)).is_err(), "{host}");
    }
    let with = |change: fn(&mut ExactHost)| {
        let mut host = exact("prod");
        change(&mut host);
        Login::exactly(&host)
    };
    assert!(with(|host| host.user = Some("-v".into())).is_err());
    assert!(with(|host| host.user = Some("a b".into())).is_err());
    assert!(with(|host| host.port = Some(0)).is_err());
    assert!(with(|host| host.command = Some(String::new())).is_err());
    assert!(with(|host| host.command = Some("-x".into())).is_err());
    assert!(with(|host| (host.user, host.port) = (Some("deploy".into()), Some(22))).is_ok());
}

#[test]
fn arguments_are_those_of_the_contract() {
    let mut exact = ExactHost::new("::1");
    (exact.user, exact.port, exact.command) = (Some("deploy".into()), Some(2222), Some("uptime; id".into()));
    let arguments = Login::exactly(&exact).unwrap().arguments(Path::new("/run/user/1000/ssh-x/agent"));
    let pairs: Vec<_> =
        arguments.windows(2).map(|pair| (pair[0].to_str().unwrap(), pair[1].to_str().unwrap())).collect();
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=accept-new",
        "ForwardAgent=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "ControlMaster=no",
        "ControlPath=none",
        "IdentityAgent=\"/run/user/1000/ssh-x/agent\"",
        "ProxyCommand=none",
        "ProxyJump=none",
    ] {
        assert_eq!(pairs.iter().filter(|pair| **pair == ("-o", option)).count(), 1, "{option}");
    }
    assert_eq!(pairs[0], ("-F", "/dev/null"));
    let end: Vec<_> = arguments[arguments.len() - 7..].iter().map(|argument| argument.to_str().unwrap()).collect();
    assert_eq!(end, ["-p", "2222", "-l", "deploy", "--", "::1", "uptime; id"]);
    let plain = Login::parse("prod").unwrap().arguments(Path::new("/a"));
    assert_eq!(plain[plain.len() - 4..], ["-p", "22", "--", "prod"].map(OsString::from));
}

#[tokio::test]
async fn nothing_is_started_for_what_is_refused() {
    // a program that would leave a trace
    let folder = tempfile::TempDir::new().unwrap();
    let (program, trace) = (folder.path().join("ssh"), folder.path().join("trace"));
    std::fs::write(&program, format!("#!/bin/sh\nenv >'{}'\nexit 255\n", trace.display())).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert!(matches!(Login::parse("prod").unwrap().resolve(&program).await, Err(LoginError::Failed { .. })));
    let environment = std::fs::read_to_string(&trace).unwrap();
    assert!(environment.contains("PATH=") && !environment.contains("CARGO_MANIFEST_DIR"), "{environment}");
    std::fs::remove_file(&trace).unwrap();
    for target in ["-oProxyCommand=touch x", "host;cmd", "user@host -v", "a\nb", "", "hоst", &"x".repeat(1000)] {
        if let Ok(login) = Login::parse(target) {
            login.resolve(&program).await.unwrap_err();
        }
    }
    assert!(!trace.exists());
}

#[tokio::test]
async fn resolves_what_the_configuration_says() {
    let Some(place) = Place::new().await else { return };
    place.write_config(
        "Host prod\n HostName prod.internal.example\n Port 2222\n User deploy\nHost v6\n HostName fe80::1\n\
         Host odd\n HostName a$b\nHost zone\n HostName fe80::1%%eth0\nHost who\n User we$ird\nHost *.lab\n HostName %h.example\n",
    );
    let resolve = async |target: &str| Login::parse(target).unwrap().resolve(&place.program()).await;
    let exact = resolve("prod").await.unwrap();
    assert_eq!(
        (exact.user.as_deref(), exact.host.as_str(), exact.port),
        (Some("deploy"), "prod.internal.example", Some(2222))
    );
    let exact = resolve("root@prod").await.unwrap();
    assert_eq!(exact.user.as_deref(), Some("root"), "what the caller says goes before");
    let login = Login::parse("prod").unwrap().with_port(9).unwrap().with_command("id").unwrap();
    let exact = login.resolve(&place.program()).await.unwrap();
    assert_eq!((exact.port, exact.command.as_deref()), (Some(9), Some("id")));
    let exact = resolve("elsewhere.example").await.unwrap();
    let user = place.user.as_str();
    assert_eq!((exact.user.as_deref(), exact.host.as_str(), exact.port), (Some(user), "elsewhere.example", Some(22)));
    assert_eq!(resolve("v6").await.unwrap().host, "fe80::1");
    assert_eq!(resolve("a.lab").await.unwrap().host, "a.lab.example");
    for target in ["odd", "zone", "who"] {
        assert!(matches!(resolve(target).await, Err(LoginError::Target { .. })), "{target}");
    }
    place.write_config("Nonsense yes\n");
    let error = resolve("prod").await.unwrap_err();
    assert!(matches!(&error, LoginError::Failed { message } if message.contains("bad configuration")), "{error}");
    let error = Login::parse("prod").unwrap().resolve(Path::new("/nonexistent/ssh")).await.unwrap_err();
    assert!(matches!(error, LoginError::Start { .. }));
}

#[tokio::test]
async fn a_configuration_that_hangs_is_given_up_with_what_it_started() {
    let Some(place) = Place::new().await else { return };
    let fifo = place.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // runs until somebody reads from the pipe, or until it is killed
    place.write_config(&format!(
        "Match exec \"echo here >'{0}.pid'; echo $$ >>'{0}.pid'; echo >'{0}'\"\n",
        fifo.display()
    ));
    let began = Instant::now();
    let error = Login::parse("prod").unwrap().resolve(&place.program()).await.unwrap_err();
    assert!(matches!(error, LoginError::TimedOut), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
    let pid = std::fs::read_to_string(format!("{}.pid", fifo.display())).unwrap();
    let pid = pid.lines().nth(1).unwrap();
    // gone, or waiting to be collected
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    while !(state().is_empty() || state().contains(") Z ")) {
        assert!(began.elapsed() < Duration::from_secs(60), "the command is left running");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_socket_path_may_hold_what_ssh_reads_otherwise() {
    let Some(place) = Place::new().await else { return };
    let key = crate::support::parse(&crate::support::ed25519());
    place.let_in(&[key.public().to_string()]);
    let folder = crate::support::private_folder(&place.path(r#"run/a b%h "c" \d #e"#));
    let agent = secret_gate_core::ssh::PrivateAgent::start_in(&folder, key).unwrap();
    assert!(agent.socket().as_os_str().as_bytes().contains(&b'%'));
    let login = place.login().with_command("echo in").unwrap();
    crate::support::said(&place.ssh(&login, &agent, &[]).await, "in");
}
