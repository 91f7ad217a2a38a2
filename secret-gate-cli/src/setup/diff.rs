//! What would change, as a unified diff that can be shown around: texts of others in these files may be their tokens,
//! so those are left out.

use std::fmt::Write;

use similar::TextDiff;

/// The diff between the two contents of the file. Texts that don't stand in `ours` are shown as `"…"`.
pub(super) fn unified(name: &str, before: Option<&[u8]>, after: Option<&[u8]>, ours: &str) -> String {
    let text = |content: Option<&[u8]>| String::from_utf8_lossy(content.unwrap_or_default()).into_owned();
    let side = |content: Option<&[u8]>| if content.is_some() { name.to_owned() } else { "/dev/null".to_owned() };
    let (old, new) = (text(before), text(after));
    let mut shown = format!("--- {}\n+++ {}\n", side(before), side(after));
    // within a text of several lines, TOML's, a line does not show that it is one
    let has_long_texts = ["\"\"\"", "'''"].iter().any(|quotes| old.contains(quotes));
    let around = if has_long_texts { 0 } else { 1 };
    for hunk in TextDiff::from_lines(&old, &new).unified_diff().context_radius(around).iter_hunks() {
        writeln!(shown, "{}", hunk.header()).ok();
        for change in hunk.iter_changes() {
            let line = masked(change.value().trim_end_matches(['\r', '\n']), ours);
            writeln!(shown, "{}{line}", change.tag()).ok();
        }
    }
    shown
}

/// The line with the texts in it that are not ours left out: what stands in quotes and is not a name.
fn masked(line: &str, ours: &str) -> String {
    if ours.lines().any(|own| own == line) {
        return line.to_owned();
    }
    let mut shown = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(['"', '\'']) {
        let (before, quoted) = rest.split_at(start);
        let end = end_of_quoted(quoted);
        let (quoted, after) = quoted.split_at(end);
        // a name of JSON or TOML; in a header of TOML it can't be told from a text in a list
        let is_name = after.trim_start().starts_with([':', '=']);
        shown.push_str(before);
        shown.push_str(if is_name || ours.contains(quoted) { quoted } else { "\"…\"" });
        rest = after;
    }
    shown + rest
}

/// Where the quoted text at the start ends.
fn end_of_quoted(text: &str) -> usize {
    let mut letters = text.char_indices();
    let Some((_, quote)) = letters.next() else { return 0 };
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' if quote == '"' => {
                letters.next();
            }
            _ if letter == quote => return at + letter.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_changes_and_no_texts_of_others() {
        let before = "{\n  \"env\": { \"TOKEN\": \"ghp_\\\"x\", \"n\": 1 },\n  \"last\": \"hidden\"\n}\n";
        let after = before.replace("hidden\"", "hidden\",\n  \"ours\": \"/bin/secret-gate\"");
        let shown = unified("~/a.json", Some(before.as_bytes()), Some(after.as_bytes()), "\"/bin/secret-gate\"");
        let expected = "--- ~/a.json\n+++ ~/a.json\n@@ -2,3 +2,4 @@\n   \"env\": { \"TOKEN\": \"…\", \"n\": 1 },\n-  \"last\": \"…\"\n+  \"last\": \"…\",\n+  \"ours\": \"/bin/secret-gate\"\n }\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn shows_no_line_of_a_text_of_several_lines() {
        let before = "KEY = \"\"\"\nsk-live-xyz\"\"\"\n";
        let after = format!("{before}[ours]\n");
        let shown = unified("a.toml", Some(before.as_bytes()), Some(after.as_bytes()), "[ours]");
        assert!(shown.contains("+[ours]") && !shown.contains("sk-live"), "{shown}");
    }

    #[test]
    fn knows_names_from_texts() {
        for (line, shown) in [
            ("a = \"x\" # c", "a = \"…\" # c"),
            ("a = 'it''s'", "a = \"…\"\"…\""),
            ("[mcp_servers.\"my server\"]", "[mcp_servers.\"…\"]"),
            ("[\"x\"],", "[\"…\"],"),
            ("\"my key\" = \"x\"", "\"my key\" = \"…\""),
            ("args = [\"--token\", \"x\"]", "args = [\"…\", \"…\"]"),
            ("  \"a\": [\"x\", \"y\"],", "  \"a\": [\"…\", \"…\"],"),
            ("\"unfinished", "\"…\""),
            ("\"a\":\"b\\\\\",\"c\":\"d\"", "\"a\":\"…\",\"c\":\"…\""),
        ] {
            assert_eq!(masked(line, ""), shown, "{line}");
        }
    }
}
