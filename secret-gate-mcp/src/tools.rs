//! What the tools say of themselves.

use rmcp::model::{Tool, ToolAnnotations};
use schemars::JsonSchema;

use crate::{arguments, results, schema};

/// What a model is told about all of them.
pub(crate) const INSTRUCTIONS: &str = "\
Secret Gate lets you use passwords, tokens and SSH keys that you never see. A human approves each on their phone.

1. search_secrets finds the name of a secret, inspect_fields lists its fields. Neither asks anybody, neither shows values.
2. request_secret asks the human. Say truthfully why in `reason`, and ask for no more than you need: give `command` (with \
`field` and `env_var`) or `host` when you know what you will run. When it answers \"pending\", call it again with the same \
arguments to wait on. When it answers \"denied\", stop and tell the user.
3. exec_with_secret runs a command with the secret in an environment variable, ssh_with_secret logs in with a key. Both only \
use what was approved; otherwise their error says which request_secret call to make first.

Never ask the user to paste a secret, and never try to print, encode, store or send one away: output shows \
[redacted:name/field] in its place.";

/// The tools, in the order in which they are used.
pub(crate) fn all() -> Vec<Tool> {
    vec![
        tool::<arguments::Search, results::Matches>(
            "search_secrets",
            "Search secrets",
            "Find secrets by name. Use this first when you need a credential and don't know what it is called. Asks nobody and \
             shows no values. Then call inspect_fields for its fields, or request_secret with the secret_name found.",
            looks(),
        ),
        tool::<arguments::Inspect, results::Fields>(
            "inspect_fields",
            "Inspect fields",
            "List the fields of a secret with their types, such as username, password or private key. Asks nobody and shows no \
             values. Use it before request_secret, so that you ask for the one field that you need.",
            looks(),
        ),
        tool::<arguments::Request, results::Decision>(
            "request_secret",
            "Request a secret",
            "Ask a human to approve the use of a secret; they get a message on their phone, with your reason. Call it before \
             exec_with_secret or ssh_with_secret. Ask narrowly: with command, field and env_var for exactly one command (and \
             args, even empty, for a program or script, whose content is then checked; that of what a shell line calls is not), or \
             with host (and command) for exactly one login; without these you ask for any command and any host, which the \
             human is less likely to approve. The answer's status is approved (go on with exec_with_secret or \
             ssh_with_secret), pending (nobody has decided yet: call again with the same arguments, which waits on and asks \
             nobody twice), denied (stop, and tell the user) or expired (nobody answered; ask the user). The value itself is \
             never shown to you. What was approved before is approved at once, with cached true.",
            ToolAnnotations::new().read_only(false).destructive(false).idempotent(true).open_world(true),
        ),
        tool::<arguments::Exec, results::Ran>(
            "exec_with_secret",
            "Run a command with a secret",
            "Run a command on this machine with the secret in an environment variable that you name: give field and env_var, or \
             several in env. command is a line for sh that uses it as \"$VARIABLE\"; with args it is a program or a \
             script, run without a shell: give args, even empty, for a script such as ./migrate. Needs an approval from request_secret; without one nothing is run, and the error says which call to make. \
             Output shows [redacted:name/field] in place of the value. exit_code is the command's own, -1 when its time was up.",
            uses(),
        ),
        tool::<arguments::Ssh, results::Ran>(
            "ssh_with_secret",
            "Log in with a secret key",
            "Log in over ssh with a private key that stays hidden, and run a command there. Needs an approval from \
             request_secret with the same host, port and command (or for any host); without one nothing is done, and the error \
             says which call to make. exit_code is that of the command there, 255 when ssh itself failed, -1 when its time was \
             up.",
            uses(),
        ),
        tool::<arguments::NoArguments, results::DaemonStatus>(
            "daemon_status",
            "Daemon status",
            "Tell how the local daemon is that holds approved secrets in memory: whether it runs, for how long, and how many \
             approvals it holds. Only needed to look into problems; the daemon starts by itself.",
            looks(),
        ),
    ]
}

/// Changes nothing.
fn looks() -> ToolAnnotations {
    ToolAnnotations::new().read_only(true).destructive(false).idempotent(true).open_world(false)
}

/// Does what the model says.
fn uses() -> ToolAnnotations {
    ToolAnnotations::new().read_only(false).destructive(true).idempotent(false).open_world(true)
}

fn tool<I: JsonSchema, O: JsonSchema>(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    annotations: ToolAnnotations,
) -> Tool {
    Tool::new(name, description, schema::of_input::<I>())
        .with_title(title)
        .with_raw_output_schema(schema::of_output::<O>())
        .with_annotations(annotations)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// All schemas below one.
    fn walk(value: &Value, see: &mut impl FnMut(&serde_json::Map<String, Value>)) {
        match value {
            Value::Object(members) => {
                see(members);
                members.values().for_each(|member| walk(member, see));
            }
            Value::Array(members) => members.iter().for_each(|member| walk(member, see)),
            _ => {}
        }
    }

    #[test]
    fn schemas_are_such_that_strict_clients_take_them() {
        let text = serde_json::to_string(&all()).unwrap();
        assert_eq!(text, serde_json::to_string(&all()).unwrap(), "their order is fixed");
        for tool in all() {
            let input = Value::Object((*tool.input_schema).clone());
            let output = Value::Object((**tool.output_schema.as_ref().unwrap()).clone());
            for schema in [&input, &output] {
                assert_eq!(schema["type"], "object", "{}", tool.name);
                walk(schema, &mut |members| {
                    assert!(!members.contains_key("format"), "{}: {members:?}", tool.name);
                    assert!(!members.contains_key("$ref"), "{}: {members:?}", tool.name);
                    assert!(!members.contains_key("anyOf"), "{}: {members:?}", tool.name);
                    assert!(members.get("type").is_none_or(|kind| kind.is_string() || kind.is_object()), "{members:?}");
                    assert!(members.get("default").is_none_or(|default| !default.is_null()), "{members:?}");
                });
            }
            let properties = input["properties"].as_object().cloned().unwrap_or_default();
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{}.{name}", tool.name);
            }
        }
    }

    #[test]
    fn names_and_required_members_are_those_that_clients_know() {
        let known: Vec<(String, Value)> = all()
            .into_iter()
            .map(|tool| (tool.name.to_string(), tool.input_schema.get("required").cloned().unwrap_or_default()))
            .collect();
        let expected = [
            ("search_secrets", serde_json::json!(["query"])),
            ("inspect_fields", serde_json::json!(["secret_name"])),
            ("request_secret", serde_json::json!(["secret_name", "reason"])),
            ("exec_with_secret", serde_json::json!(["secret_name", "command"])),
            ("ssh_with_secret", serde_json::json!(["secret_name", "host"])),
            ("daemon_status", Value::Null),
        ];
        assert_eq!(known, expected.map(|(name, required)| (name.to_owned(), required)));
    }
}
