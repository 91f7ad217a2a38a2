//! The paths of the Connect API that we read.

use reqwest::Url;

/// A vault's or item's id that is safe to put into a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id<'a>(&'a str);

impl<'a> Id<'a> {
    /// Takes letters, digits, `-` and `_`, up to 64 of them: all that can't change the path. 1Password's own ids are
    /// 26 lower case letters and digits.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (matches!(text.len(), 1..=64) && text.bytes().all(harmless)).then_some(Self(text))
    }

    #[cfg(test)]
    pub(super) const fn trusted(text: &'a str) -> Self {
        Self(text)
    }

    pub(super) const fn as_str(self) -> &'a str {
        self.0
    }
}

/// One of the resources that we read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Route<'a> {
    Health,
    Vaults,
    Items { vault: Id<'a> },
    Item { vault: Id<'a>, item: Id<'a> },
}

impl Route<'_> {
    /// The path with places for ids, to be shown.
    pub(super) const fn template(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Vaults => "/v1/vaults",
            Self::Items { .. } => "/v1/vaults/{vault}/items",
            Self::Item { .. } => "/v1/vaults/{vault}/items/{item}",
        }
    }

    /// Whether the token belongs into the request.
    pub(super) const fn needs_token(self) -> bool {
        !matches!(self, Self::Health)
    }

    /// The resource at the server `base`, whose path ends with a slash.
    pub(super) fn url(self, base: &Url) -> Url {
        let rest = match self {
            Self::Health => "health".to_owned(),
            Self::Vaults => "v1/vaults".to_owned(),
            Self::Items { vault } => format!("v1/vaults/{}/items", vault.as_str()),
            Self::Item { vault, item } => format!("v1/vaults/{}/items/{}", vault.as_str(), item.as_str()),
        };
        let mut url = base.clone();
        url.set_path(&format!("{}{rest}", base.path()));
        url
    }
}

/// Takes `/v1` off the end of the server's path, since people copy it along with the host.
pub(super) fn without_version(mut base: Url) -> Url {
    if let Some(prefix) = base.path().strip_suffix("/v1/") {
        let prefix = format!("{prefix}/");
        base.set_path(&prefix);
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parse_address;

    #[test]
    fn ids_that_would_change_the_path() {
        for id in ["", ".", "..", "a/b", "a%2fb", "a?b", "a#b", "a\\b", "a b", "ä", "a\nb", &"a".repeat(65)] {
            assert!(Id::parse(id).is_none(), "{id:?}");
        }
        assert_eq!(Id::parse("hfnjvi6aymbsnfc2xeeoheizda").map(Id::as_str), Some("hfnjvi6aymbsnfc2xeeoheizda"));
    }

    #[test]
    fn paths_below_any_base() {
        let (vault, item) = (Id::parse("v1").unwrap(), Id::parse("i1").unwrap());
        for (host, prefix) in [
            ("http://op:8080", ""),
            ("http://op:8080/", ""),
            ("http://op:8080/v1", ""),
            ("http://op:8080/v1/", ""),
            ("http://op:8080/connect", "/connect"),
            ("http://op:8080/connect/v1/", "/connect"),
        ] {
            let base = without_version(parse_address(host).unwrap());
            let path = |route: Route<'_>| route.url(&base).path().to_owned();
            assert_eq!(path(Route::Health), format!("{prefix}/health"));
            assert_eq!(path(Route::Vaults), format!("{prefix}/v1/vaults"));
            assert_eq!(path(Route::Items { vault }), format!("{prefix}/v1/vaults/v1/items"));
            assert_eq!(path(Route::Item { vault, item }), format!("{prefix}/v1/vaults/v1/items/i1"));
        }
    }
}
