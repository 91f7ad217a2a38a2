//! What the items of a command are called where a human reads which value is whose.

/// What each of these items, given by vault and title, is called in an exact command that gets values of several:
/// a field of it is then written as `name/field`, in the approval and in what is compared with it.
///
/// That is the title, and `vault/title` for those that could be taken for another of them otherwise: a title twice, or
/// `a` and `a/b`, since labels may hold a `/` as well. The same vault and title count as one item. `None` where even
/// these could be taken for one another.
///
/// ```
/// use secret_gate_core::exec::item_names;
///
/// let names = item_names(&[("staging", "db"), ("prod", "db"), ("prod", "web")]);
/// assert_eq!(names.unwrap(), ["staging/db", "prod/db", "web"]);
/// ```
#[must_use]
pub fn item_names(items: &[(&str, &str)]) -> Option<Vec<String>> {
    let is_like_another = |names: &[String], item: &(&str, &str), name: &str| {
        items.iter().zip(names).any(|(other, other_name)| other != item && are_alike(name, other_name))
    };
    let titles: Vec<String> = items.iter().map(|(_, title)| (*title).to_owned()).collect();
    let named = items.iter().zip(&titles).map(|(item, title)| match item.0 {
        // an older server does not tell it
        "" => title.clone(),
        vault if is_like_another(&titles, item, title) => format!("{vault}/{title}"),
        _ => title.clone(),
    });
    let names: Vec<String> = named.collect();
    let is_clear = !items.iter().zip(&names).any(|(item, name)| is_like_another(&names, item, name));
    is_clear.then_some(names)
}

/// Whether a field of the one could be written like a field of the other.
fn are_alike(one: &str, other: &str) -> bool {
    let begins = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('/'));
    one == other || begins(one, other) || begins(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vaults and titles, and what the items are called.
    type Case = (&'static [(&'static str, &'static str)], Option<&'static [&'static str]>);

    #[test]
    fn names_tell_items_apart() {
        let cases: [Case; 10] = [
            (&[], Some(&[])),
            (&[("infra", "db")], Some(&["db"])),
            (&[("infra", "db"), ("other", "web"), ("infra", "db")], Some(&["db", "web", "db"])),
            (&[("a", "db"), ("b", "db"), ("a", "dbs")], Some(&["a/db", "b/db", "dbs"])),
            (&[("v", "a/b"), ("w", "a")], Some(&["v/a/b", "w/a"])),
            // with its vault, one is called as the other is without
            (&[("v", "db"), ("w", "db"), ("x", "v/db")], None),
            (&[("v", "a/b"), ("w", "a/b"), ("v/a", "b"), ("w", "b")], None),
            (&[("v", "a"), ("v", "a/b")], None),
            (&[("", "db"), ("", "web")], Some(&["db", "web"])),
            (&[("", "db"), ("v", "db")], Some(&["db", "v/db"])),
        ];
        for (items, expected) in cases {
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(item_names(items), expected, "{items:?}");
        }
    }
}
