//! What `strace` saw of processes: every text that went through a system call, who had it pass, and through what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::Search;

/// Where a value was seen: whose process, which system call, which kind of descriptor or which argument.
pub type Sighting = (String, String, String);

/// The options with which `strace` writes what this reads: a file for each thread, whole texts, environments, and what
/// descriptors are.
pub const OPTIONS: [&str; 8] = ["-ff", "-v", "-yy", "-qq", "-s", "262144", "-e", "signal=none"];

/// A run of `strace`, with a file for each thread.
#[derive(Debug)]
pub struct Trace {
    threads: BTreeMap<u32, Vec<String>>,
    /// The one that was started first.
    first: u32,
}

impl Trace {
    /// Reads the files `trace.NUMBER` in this folder.
    pub fn read(folder: &Path) -> Self {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let thread = |path: std::path::PathBuf| {
            let number = path.extension()?.to_str()?.parse().ok()?;
            Some((number, String::from_utf8_lossy(&fs::read(path).unwrap()).lines().map(str::to_owned).collect()))
        };
        let threads: BTreeMap<u32, Vec<String>> = files.filter_map(thread).collect();
        let begins = |number: &&u32| !threads.values().flatten().any(|line| starts(line) == Some(**number));
        let first = *threads.keys().find(begins).unwrap();
        Self { threads, first }
    }

    /// Everywhere that the value was seen. `name` is how the first process is called until it or one that it started
    /// runs another program than `secret-gate`; those are called `child`.
    pub fn sightings(&self, search: &Search, name: &str) -> BTreeSet<Sighting> {
        let mut seen = BTreeSet::new();
        let mut queue = vec![(self.first, name.to_owned())];
        while let Some((thread, mut who)) = queue.pop() {
            for line in self.threads.get(&thread).into_iter().flatten() {
                if let Some(started) = starts(line) {
                    queue.push((started, who.clone()));
                }
                let Some(call) = Call::parse(line) else { continue };
                if call.name.starts_with("execve") {
                    let program = String::from_utf8_lossy(&call.texts.first().unwrap().1).into_owned();
                    let same = ["/secret-gate", "/setpriv"].iter().any(|end| program.ends_with(end));
                    who = if same && who == name { who } else { "child".to_owned() };
                }
                for (place, text) in &call.texts {
                    if search.finds(text) {
                        let kind = if call.name.starts_with("execve") { *place } else { call.kind() };
                        seen.insert((who.clone(), call.name.to_owned(), kind.to_owned()));
                    }
                }
            }
        }
        seen
    }

    /// Whether these words were written somewhere.
    pub fn tells(&self, words: &str) -> bool {
        self.threads.values().flatten().any(|line| line.starts_with("write(") && line.contains(words))
    }

    /// Lines whose texts were cut off, and threads whose start or whose calls are missing. There must be none of these.
    pub fn gaps(&self) -> Vec<String> {
        let lines = || self.threads.values().flatten();
        let started: BTreeSet<u32> = lines().filter_map(|line| starts(line)).chain([self.first]).collect();
        // the name of a thread is short by its nature
        let is_cut = |line: &&String| line.contains("\"...") && !line.starts_with("prctl(PR_SET_NAME");
        let cut = lines().filter(is_cut).cloned();
        let traced: BTreeSet<u32> = self.threads.keys().copied().collect();
        cut.chain(started.symmetric_difference(&traced).map(u32::to_string)).collect()
    }
}

/// The thread or process that this line says was started.
fn starts(line: &str) -> Option<u32> {
    let begins = ["clone(", "clone3(", "fork(", "vfork("].iter().any(|call| line.starts_with(call));
    // with what the number is called, `= 7<name>`
    let result = line.rsplit_once(" = ")?.1.split(['<', ' ']).next()?;
    result.parse().ok().filter(|_| begins)
}

/// A system call.
#[derive(Debug)]
struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
    /// Every text in it, and in which argument it stands, as far as that matters for programs.
    texts: Vec<(&'static str, Vec<u8>)>,
}

impl<'a> Call<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, arguments) = line.split_once('(')?;
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then(|| Self { name, arguments, texts: texts(arguments) })
    }

    /// What the first descriptor is.
    fn kind(&self) -> &'static str {
        let Some((_, what)) = self.arguments.split_once('<') else { return "none" };
        let kinds = [("TCP", "tcp"), ("pipe:", "pipe"), ("UNIX", "unix"), ("/", "file"), ("NETLINK", "netlink")];
        kinds.iter().find(|(start, _)| what.starts_with(start)).map_or("other", |(_, kind)| kind)
    }
}

/// The texts between quotes; of `execve`, the first list is the arguments and the second the environment.
fn texts(arguments: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut texts = Vec::new();
    let mut lists = 0;
    let mut rest = arguments.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'[' => lists += 1,
            b'"' => {
                let (text, after) = text(rest);
                let place = match lists {
                    0 => "path",
                    1 => "arguments",
                    _ => "environment",
                };
                texts.push((place, text));
                rest = after;
            }
            _ => {}
        }
    }
    texts
}

/// The text up to the next quote, as it was before `strace` escaped it, and what follows.
fn text(mut rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut text = Vec::new();
    loop {
        match rest {
            [] => return (text, rest),
            [b'"', after @ ..] => return (text, after),
            [b'\\', after @ ..] if after.first().is_some_and(|byte| matches!(byte, b'0'..=b'7')) => {
                let digits = after.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                let (number, after) = after.split_at(digits);
                text.push(number.iter().fold(0, |number, digit| number * 8 + (digit - b'0')));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                text.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'v' => 11,
                    b'f' => 12,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}
