//! What stands in the message, line by line.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::visible::{clamped, command, name, shown};
use super::{Line, Style, duration};
use crate::approver::{AskedItem, Question};
use crate::{ExactCommand, ExactHost, Requester, Scope, Use};

/// The machine and the agent are shown up to this many UTF-16 code units.
const SAID_LIMIT: usize = 120;

/// What a login to any host means where a broker vouches: whoever can use the agent there can get the key out of it.
const ANY_HOST: &str = "ssh to any host, with the key in the requester's ssh-agent";

/// The lines of the question, with at most `reason_room` units of the reason; and how many those took.
pub(super) fn lines(question: &Question, reason_room: usize) -> (Vec<Line>, usize) {
    let trusted = question.requester.broker;
    // what only the requester vouches for stands where the requester speaks, however exact it is
    let wanted = question.intended_use.as_ref();
    let checked_details = wanted.filter(|_| trusted).map(details).unwrap_or_default();
    let said_details = wanted.filter(|_| !trusted).map(said_details).unwrap_or_default();

    let mut lines = vec![Line::default().bold("🔐 Secret request"), Line::default()];
    lines.push(Line::default().bold("Checked by the gate"));
    lines.extend(question.items.iter().map(item));
    lines.push(use_line(&question.requester, question.intended_use.as_ref()));
    lines.extend(checked_details);
    lines.push(asked_by(&question.requester));

    let said = &question.said;
    let reason = said.reason.as_deref().map(|reason| clamped(reason, reason_room));
    let reason_length = reason.as_deref().map_or(0, |reason| reason.encode_utf16().count());
    let mut quoted = Vec::new();
    for (label, text) in [("Agent: ", &said.agent), ("Machine: ", &said.machine)] {
        quoted.extend(text.as_deref().map(|text| Line::of(label).code(clamped(text, SAID_LIMIT))));
    }
    quoted.extend(said.working_dir.as_deref().map(|folder| Line::of("Folder: ").code(shown(folder))));
    quoted.extend(said_details);
    quoted.extend(reason.map(|reason| Line::of("Reason: ").code(reason)));
    if !quoted.is_empty() {
        lines.extend([Line::default(), Line::default().bold("Said by the requester")]);
        lines.extend(quoted.into_iter().map(|line| Line { quoted: true, ..line }));
    }

    lines.push(Line::default());
    let kept = question.keep.map(|keep| format!("Keeps it {}", duration(keep)));
    lines.extend(kept.map(|text| Line::of(&text)));
    lines.push(Line::of(&open_until(question)).code(shown(question.id.as_str())));
    lines.extend(question.audit.as_ref().map(|anchor| Line::of("Audit ").code(shown(&anchor.to_string()))));
    (lines, reason_length)
}

/// One piece of code from end to end, so that a hundred items are still one tagged part.
fn item(item: &AskedItem) -> Line {
    let ids = item.ids.as_deref().map(|ids| format!("{} · ", shown(ids))).unwrap_or_default();
    let mut text = format!("Secret: {} · vault {} · {ids}", name(&item.title), name(&item.vault));
    if item.fields.is_empty() {
        text.push_str("no fields");
    }
    for (index, field) in item.fields.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let seed = if field.is_seed { " (⚠ one-time-password seed)" } else { "" };
        write!(text, "{comma}{}{seed}", name(&field.name)).ok();
    }
    Line::default().code(text)
}

fn use_line(requester: &Requester, wanted: Option<&Use>) -> Line {
    let line = Line::of("Use: ");
    if !requester.broker {
        let said = wanted.map(summary).unwrap_or_default();
        let line = line.bold("receives the value");
        return if said.is_empty() { line } else { line.plain(format!(" (says: {said})")) };
    }
    let spans = wanted.map(phrases).unwrap_or_default();
    let mut line = match wanted {
        Some(wanted) if !wanted.reveal => line,
        _ if spans.is_empty() => line.bold("receives the value"),
        _ => line.bold("receives the value").plain("; "),
    };
    line.spans.extend(spans);
    line
}

/// The uses other than getting the value, in words of ours alone.
fn summary(wanted: &Use) -> String {
    let exec = wanted.exec.as_ref().map(|exec| match exec {
        Scope::Any => "run any command",
        Scope::Exact(_) => "run the command below",
    });
    let ssh = wanted.ssh.as_ref().map(|ssh| match ssh {
        Scope::Any => "ssh to any host",
        Scope::Exact(_) => "log in as below",
    });
    exec.into_iter().chain(ssh).collect::<Vec<_>>().join("; ")
}

/// An exact command and an exact host, as the requester says them.
fn said_details(wanted: &Use) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(Scope::Exact(exact)) = &wanted.exec {
        lines.push(Line::of("Command: ").code(command(&exact.argv)));
    }
    lines.extend(details(wanted));
    if let Some(Scope::Exact(host)) = &wanted.ssh {
        lines.push(Line { spans: login_phrase(host), ..Line::default() });
    }
    lines
}

/// The uses other than getting the value, joined.
fn phrases(wanted: &Use) -> Vec<(Style, String)> {
    let mut spans = Vec::new();
    match &wanted.exec {
        None => {}
        Some(Scope::Any) => spans.push((Style::Plain, "run any command".to_owned())),
        Some(Scope::Exact(exact)) => {
            spans.extend([(Style::Plain, "run ".to_owned()), (Style::Code, command(&exact.argv))]);
        }
    }
    if wanted.ssh.is_some() && !spans.is_empty() {
        spans.push((Style::Plain, "; ".to_owned()));
    }
    match &wanted.ssh {
        None => {}
        Some(Scope::Any) => spans.push((Style::Plain, ANY_HOST.to_owned())),
        Some(Scope::Exact(host)) => spans.extend(login_phrase(host)),
    }
    spans
}

fn login_phrase(host: &ExactHost) -> Vec<(Style, String)> {
    let running = host.command.as_deref();
    let mut spans = vec![(Style::Plain, "ssh to ".to_owned()), (Style::Code, login(host))];
    spans.push((Style::Plain, if running.is_some() { " running " } else { " (a shell)" }.to_owned()));
    spans.extend(running.map(|command| (Style::Code, shown(command))));
    spans
}

fn login(host: &ExactHost) -> String {
    let user = host.user.as_deref().map(|user| format!("{}@", shown(user))).unwrap_or_default();
    let port = host.port.unwrap_or(22);
    let name = shown(&host.host);
    if host.host.contains(':') { format!("{user}[{name}]:{port}") } else { format!("{user}{name}:{port}") }
}

/// What an exact command means beyond its arguments.
fn details(wanted: &Use) -> Vec<Line> {
    let Some(Scope::Exact(exact)) = &wanted.exec else { return Vec::new() };
    let ExactCommand { argv: _, working_dir, program, sha256, script_sha256, env, files, stdin } = exact;
    let mut lines = vec![Line::of("Program: ").code(shown(program))];
    // the hash of a shell says nothing of what its line runs
    lines.push(match is_shell_line(exact) {
        true => Line::of("A shell line: programs and scripts that it calls are not checked"),
        false => Line::of("SHA-256: ").code(shown(sha256)),
    });
    lines.push(Line::of("Starts in: ").code(shown(working_dir)));
    lines.extend(script_sha256.as_deref().map(|hash| Line::of("Script SHA-256: ").code(shown(hash))));
    for (title, fields) in [("Variables: ", env), ("Files named by variables: ", files)] {
        let pairs: Vec<_> =
            fields.iter().map(|(variable, field)| format!("{}={}", name(variable), name(field))).collect();
        if !pairs.is_empty() {
            lines.push(Line::of(title).code(pairs.join(", ")));
        }
    }
    lines.extend(stdin.as_deref().map(|field| Line::of("Standard input: ").code(name(field))));
    lines
}

/// Whether a shell of the system reads the command, and not a program of the requester's that is only called like one.
fn is_shell_line(exact: &ExactCommand) -> bool {
    const SHELLS: [&str; 6] = ["sh", "ash", "bash", "dash", "ksh", "zsh"];
    let folder = ["/bin/", "/usr/bin/"].iter().find_map(|folder| exact.program.strip_prefix(folder));
    let reads_a_line = exact.argv.get(1).is_some_and(|option| option == "-c");
    reads_a_line && exact.script_sha256.is_none() && folder.is_some_and(|name| SHELLS.contains(&name))
}

fn asked_by(requester: &Requester) -> Line {
    let line = Line::of("Asked by: ");
    let line = match &requester.key_name {
        Some(key) => line.code(name(key)),
        None => line.bold("unauthenticated"),
    };
    let line = if requester.broker { line.plain(" (broker)") } else { line };
    match &requester.address {
        Some(address) => line.plain(" · ").code(shown(address)),
        None => line,
    }
}

fn open_until(question: &Question) -> String {
    let asked = utc(question.asked_at);
    let until = utc(question.expires_at);
    let parts = |time: &str| time.split_once('T').map(|(day, clock)| (day.to_owned(), clock.chars().take(5).collect()));
    let (asked_day, _): (_, String) = parts(&asked).unwrap_or_default();
    match parts(&until) {
        Some((day, clock)) if day == asked_day => format!("Open until {clock} UTC · request "),
        Some((day, clock)) => format!("Open until {clock} UTC on {day} · request "),
        None => "Request ".to_owned(),
    }
}

/// RFC 3339, or nothing for years that it can't write.
fn utc(time: SystemTime) -> String {
    let mut text = String::new();
    if time < SystemTime::UNIX_EPOCH || write!(text, "{}", humantime::format_rfc3339_seconds(time)).is_err() {
        text.clear();
    }
    text
}
