//! Our table in Codex's configuration, put in and taken out again; everything else stays as it is, byte for byte.

use similar::{DiffTag, TextDiff};
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value, value};

use super::json::Problem;

const SERVERS: &str = "mcp_servers";

/// The table `[mcp_servers.secret-gate]`.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) command: String,
    pub(super) args: Vec<String>,
    pub(super) timeout_secs: i64,
    /// A variable that the server needs, and is not passed on by itself.
    pub(super) variable: Option<(&'static str, String)>,
}

impl Entry {
    /// The text with the table in it.
    pub(super) fn put(&self, text: &str) -> Result<String, Problem> {
        let mut document = parse(text)?;
        let servers = document.entry(SERVERS).or_insert_with(|| {
            // a table that has only tables needs no line of its own
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        let servers = servers.as_table_like_mut().ok_or_else(|| format!("{SERVERS} is not a table"))?;
        let is_new = !servers.contains_key(self.name);
        let entry = servers.entry(self.name).or_insert_with(|| Item::Table(Table::new()));
        let entry = entry.as_table_like_mut().ok_or_else(|| format!("{SERVERS}.{} is not a table", self.name))?;
        set(entry, "command", self.command.as_str().into());
        set(entry, "args", self.args.iter().collect::<Array>().into());
        set(entry, "tool_timeout_sec", self.timeout_secs.into());
        if let Some((name, wanted)) = &self.variable {
            let variables = entry.entry("env").or_insert_with(|| value(toml_edit::InlineTable::new()));
            let variables = variables.as_table_like_mut().ok_or("env is not a table")?;
            set(variables, name, wanted.as_str().into());
        }
        let mut changed = document.to_string();
        if is_new && text.is_empty() {
            changed = changed.trim_start().to_owned();
        }
        let changed = with_lines_of(text, &changed);
        parse(&changed)?;
        Ok(changed)
    }

    /// The text without the table.
    pub(super) fn take(&self, text: &str) -> Result<String, Problem> {
        let mut document = parse(text)?;
        let Some(servers) = document.get_mut(SERVERS).and_then(Item::as_table_like_mut) else {
            return Ok(text.to_owned());
        };
        if servers.remove(self.name).is_none() {
            return Ok(text.to_owned());
        }
        let changed = document.to_string();
        Ok(with_lines_of(text, &changed))
    }
}

/// Whether the text says nothing.
pub(super) fn is_bare(text: &str) -> bool {
    text.trim().is_empty()
}

fn parse(text: &str) -> Result<DocumentMut, Problem> {
    text.parse::<DocumentMut>().map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
        let what = error.message().lines().next().unwrap_or("it is not TOML").to_owned();
        format!("line {line}: {what}")
    })
}

fn set(table: &mut dyn TableLike, name: &str, wanted: Value) {
    let is_there = table.get(name).and_then(Item::as_value).is_some_and(|there| is_same(there, &wanted));
    if !is_there {
        // with the comments that stand around the old value
        match table.get_mut(name).and_then(Item::as_value_mut) {
            Some(there) => {
                let decor = there.decor().clone();
                *there = wanted;
                *there.decor_mut() = decor;
            }
            None => {
                table.insert(name, value(wanted));
            }
        }
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Integer(one), Value::Integer(other)) => one.value() == other.value(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        _ => false,
    }
}

/// The new text with every line that it shares with the old one as it was there, and the others with the line ends of
/// the old one: the library writes `\n` everywhere.
fn with_lines_of(old: &str, new: &str) -> String {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let ends_with_return = |line: &&&str| line.ends_with("\r\n");
    let end = if old.iter().filter(ends_with_return).count() * 2 > old.len() { "\r\n" } else { "\n" };
    let (bare_old, bare_new): (Vec<_>, Vec<_>) = (bare(&old), bare(&new));
    let mut text = String::new();
    for step in TextDiff::from_slices(&bare_old, &bare_new).ops() {
        if step.tag() == DiffTag::Equal {
            text.extend(old.get(step.old_range()).unwrap_or_default().iter().copied());
        } else {
            for line in new.get(step.new_range()).unwrap_or_default() {
                // a last line without an end must not swallow what follows it
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push_str(end);
                }
                text.push_str(line.trim_end_matches(['\r', '\n']));
                text.push_str(if line.ends_with('\n') { end } else { "" });
            }
        }
    }
    text
}

fn bare<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    lines.iter().map(|line| line.trim_end_matches(['\r', '\n'])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let args = ["mcp", "--wait", "14m"].map(str::to_owned).to_vec();
        Entry { name: "secret-gate", command: "/bin/secret-gate".to_owned(), args, timeout_secs: 900, variable: None }
    }

    const TEXTS: [&str; 8] = [
        "",
        "# only a comment",
        "model = \"x\"\n",
        "# a\r\nmodel = \"x\" # c\r\n\r\n[tools]\r\ntext = \"\"\"one\r\ntwo\"\"\"\r\n",
        "model = 'x'\n[mcp_servers.other]\ncommand = \"q\"\n  args = [ 1,\n 2, ]\n\n[tui]\na = 1",
        "mcp_servers = { other = { command = \"q\" } }\n",
        "mcp_servers.other.command = \"q\"\na = 1\n",
        "[mcp_servers]\n# none yet\n\n[z]\n[[z.list]]\na = 1\n",
    ];

    #[test]
    fn what_was_there_stays_and_ours_comes_once() {
        for text in TEXTS {
            let changed = entry().put(text).unwrap();
            let document: DocumentMut = changed.parse().unwrap();
            let ours = &document["mcp_servers"]["secret-gate"];
            assert_eq!(ours["command"].as_str(), Some("/bin/secret-gate"), "{changed}");
            assert_eq!(ours["tool_timeout_sec"].as_integer(), Some(900), "{changed}");
            assert_eq!(ours["args"].as_array().unwrap().len(), 3);
            assert_eq!(entry().put(&changed).unwrap(), changed, "a second time changes something");
            let lines: Vec<_> = changed.split_inclusive('\n').collect();
            for line in text.split_inclusive('\n') {
                let is_kept = lines.contains(&line) || lines.iter().any(|new| new.trim_end() == line);
                assert!(is_kept || line.starts_with("mcp_servers = {"), "{line:?} in {changed:?}");
            }
            let taken = entry().take(&changed).unwrap();
            assert!(!taken.contains("secret-gate"), "{taken}");
            assert_eq!(taken.trim_end(), text.trim_end(), "{changed:?}");
        }
    }

    #[test]
    fn an_entry_of_ours_keeps_what_the_user_added() {
        let text = "[mcp_servers.secret-gate]\r\nenabled = true\r\ncommand = \"/old\" # mine\r\n\r\n[mcp_servers.secret-gate.env]\r\nA = \"b\"\r\n";
        let changed = entry().put(text).unwrap();
        assert!(changed.contains("command = \"/bin/secret-gate\" # mine\r\n"), "{changed:?}");
        assert!(changed.contains("enabled = true\r\n") && changed.contains("A = \"b\"\r\n"), "{changed:?}");
        assert!(!changed.replace("\r\n", "").contains('\n'), "{changed:?}");
    }

    #[test]
    fn a_variable_that_is_not_passed_on_comes_with_it() {
        let entry = Entry { variable: Some(("XDG_CONFIG_HOME", "/etc/x".to_owned())), ..entry() };
        for (text, expected) in [
            ("", "env = { XDG_CONFIG_HOME = \"/etc/x\" }\n"),
            (
                "[mcp_servers.secret-gate]\nenv = { A = \"b\" }\n",
                "env = { A = \"b\" , XDG_CONFIG_HOME = \"/etc/x\" }\n",
            ),
            ("[mcp_servers.secret-gate.env]\nA = \"b\"\n", "A = \"b\"\nXDG_CONFIG_HOME = \"/etc/x\"\n"),
        ] {
            let changed = entry.put(text).unwrap();
            assert!(changed.contains(expected), "{changed}");
            assert_eq!(entry.put(&changed).unwrap(), changed);
        }
    }

    #[test]
    fn leaves_alone_what_it_does_not_understand() {
        for (text, problem) in [
            ("a = 1\n\nb = \n", "line 3: "),
            ("a = 1\na = 2\n", "line 2: "),
            ("mcp_servers = 5\n", "mcp_servers is not a table"),
            ("[mcp_servers]\nsecret-gate = 5\n", "mcp_servers.secret-gate is not a table"),
            ("[[mcp_servers]]\na = 1\n", "mcp_servers is not a table"),
            ("\u{0}", "line 1: "),
        ] {
            let said = entry().put(text).unwrap_err();
            assert!(said.contains(problem), "{said}");
        }
        assert!(parse(&format!("a = {}", "[".repeat(100_000))).is_err());
    }
}
