//! SCIM filters (RFC 7644, section 3.4.2.2), of which Connect knows one form: `attribute eq "value"`.

/// Reads `ATTRIBUTE eq "VALUE"` and returns the value, or `None` when it is anything else.
///
/// Attribute names and operators are case-insensitive, and the value is a JSON string (RFC 7644), so a quote in it
/// must be escaped.
pub(super) fn value_of(filter: &str, attribute: &str) -> Option<String> {
    let (name, rest) = filter.trim().split_once(' ')?;
    let (operator, value) = rest.trim_start().split_once(' ')?;
    if !name.eq_ignore_ascii_case(attribute) || !operator.eq_ignore_ascii_case("eq") {
        return None;
    }
    serde_json::from_str(value.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::value_of;

    #[test]
    fn only_well_formed_equality_is_understood() {
        assert_eq!(value_of(r#"title eq "My db""#, "title").as_deref(), Some("My db"));
        assert_eq!(value_of(r#"Title EQ  "a \" b""#, "title").as_deref(), Some("a \" b"));
        for bad in [
            "",
            "title",
            "title eq db",
            r#"title eq "a"b""#,
            r#"title co "a""#,
            r#"name eq "a""#,
            r#"title eq "a" and title eq "b""#,
        ] {
            assert_eq!(value_of(bad, "title"), None, "{bad}");
        }
    }
}
