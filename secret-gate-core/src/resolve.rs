//! From a name to exactly one item, and the ranking of searches.

use crate::wire::Candidate;
use crate::{BackendError, ItemSummary, Vault};

/// One item's title, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) vault: Vault,
    pub(crate) item: ItemSummary,
}

impl Entry {
    fn of((vault, item): (&Vault, &ItemSummary)) -> Self {
        Self { vault: vault.clone(), item: item.clone() }
    }

    pub(crate) fn to_candidate(&self) -> Candidate {
        Candidate {
            secret_name: self.item.title.clone(),
            vault_name: self.vault.name.clone(),
            id: self.item.id.clone(),
        }
    }
}

/// What a listing of one vault brought.
#[derive(Debug)]
pub(crate) struct VaultListing {
    pub(crate) vault: Vault,
    pub(crate) items: Result<Vec<ItemSummary>, BackendError>,
}

/// How a title matches a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MatchKind {
    /// The title is the query, but for case.
    Exact,
    /// The title starts with the query.
    Prefix,
    /// The title contains the query.
    Contains,
    /// The query's characters, or some of its words, occur in the title.
    Fuzzy,
}

impl MatchKind {
    /// The word that the HTTP API uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::Contains => "contains",
            Self::Fuzzy => "fuzzy",
        }
    }
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Exactly this item, by its id or its whole title.
    Exact(Entry),
    /// This item, the only one that comes close enough.
    Close(Entry),
    /// Several items, equally well.
    Ambiguous(Vec<Entry>),
    /// No item; these come closest.
    NotFound(Vec<Entry>),
    /// Perhaps an item of these vaults, which can't be listed.
    Unlisted(Vec<String>),
}

/// The longest query, in bytes, whose words are compared with a title's; longer ones only cost time.
const MAX_WORDY_QUERY: usize = 256;
/// How many suggestions accompany "not found".
const MAX_SUGGESTIONS: usize = 5;

/// Finds what `name` means, in the vault of this name or id, else in all.
///
/// An id or a whole title wins; else the single title that starts with the name, the only kind of match beside a whole
/// title that scores 0.8 or more. Letter case counts where two titles differ in nothing else.
pub(crate) fn resolve(listings: &[VaultListing], name: &str, vault: Option<&str>) -> Resolution {
    let searched: Vec<&VaultListing> =
        listings.iter().filter(|listing| vault.is_none_or(|wanted| is_called(&listing.vault, wanted))).collect();
    let entries = || searched.iter().copied().flat_map(entries_of);

    let lower = name.to_lowercase();
    let mut exact: Vec<Entry> =
        entries().filter(|(_, item)| item.id == name || item.title == name).map(Entry::of).collect();
    if exact.is_empty() {
        exact = entries().filter(|(_, item)| item.title.to_lowercase() == lower).map(Entry::of).collect();
    }
    match <[Entry; 1]>::try_from(exact) {
        Ok([entry]) => return Resolution::Exact(entry),
        Err(exact) if !exact.is_empty() => return Resolution::Ambiguous(exact),
        Err(_) => {}
    }

    let unlisted: Vec<String> =
        searched.iter().filter(|listing| listing.items.is_err()).map(|listing| listing.vault.name.clone()).collect();
    if !unlisted.is_empty() {
        return Resolution::Unlisted(unlisted);
    }
    let close: Vec<Entry> =
        entries().filter(|(_, item)| item.title.to_lowercase().starts_with(&lower)).map(Entry::of).collect();
    match <[Entry; 1]>::try_from(close) {
        Ok([entry]) => Resolution::Close(entry),
        Err(close) if !close.is_empty() => Resolution::Ambiguous(close),
        Err(_) => {
            let ranked = rank(searched.iter().copied(), name, MAX_SUGGESTIONS);
            Resolution::NotFound(ranked.into_iter().map(|found| found.entry).collect())
        }
    }
}

/// A title found by a search.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    pub(crate) score: f64,
    pub(crate) kind: MatchKind,
}

/// The titles that match `query`, best first, ties by title and vault, at most `limit`.
pub(crate) fn rank<'a>(listings: impl IntoIterator<Item = &'a VaultListing>, query: &str, limit: usize) -> Vec<Found> {
    let query = query.to_lowercase();
    let mut found: Vec<Found> = listings
        .into_iter()
        .flat_map(entries_of)
        .filter_map(|pair| {
            score(&query, &pair.1.title).map(|(score, kind)| Found { entry: Entry::of(pair), score, kind })
        })
        .collect();
    found.sort_by(|a, b| {
        let by_score = b.score.total_cmp(&a.score);
        by_score
            .then_with(|| a.entry.item.title.cmp(&b.entry.item.title))
            .then_with(|| a.entry.vault.name.cmp(&b.entry.vault.name))
    });
    found.truncate(limit);
    found
}

/// Whether this is the vault that was meant, by its id or its name.
pub(crate) fn is_called(vault: &Vault, wanted: &str) -> bool {
    vault.id == wanted || vault.name == wanted || vault.name.to_lowercase() == wanted.to_lowercase()
}

fn entries_of(listing: &VaultListing) -> impl Iterator<Item = (&Vault, &ItemSummary)> {
    let items = listing.items.as_deref().unwrap_or_default();
    items.iter().map(|item| (&listing.vault, item))
}

/// How well a title matches a query that is in lower case already. Lengths and offsets count UTF-8 bytes of the
/// lower-cased texts.
#[expect(clippy::cast_precision_loss, reason = "lengths are far below 2^52")]
fn score(query: &str, title: &str) -> Option<(f64, MatchKind)> {
    if query.is_empty() {
        return None;
    }
    let title = title.to_lowercase();
    let (query_len, title_len) = (query.len() as f64, title.len() as f64);
    if title == query {
        return Some((1.0, MatchKind::Exact));
    }
    // what is longer than the title can't be in it, and looking would cost time with every title
    let could_be_inside = query.len() < title.len();
    match could_be_inside.then(|| title.find(query)).flatten() {
        Some(0) => return Some((0.9, MatchKind::Prefix)),
        Some(offset) => {
            let early = 1.0 - offset as f64 / title_len;
            return Some((0.7 * (0.5 * early + 0.5 * query_len / title_len), MatchKind::Contains));
        }
        None => {}
    }
    if could_be_inside && is_subsequence(query, &title) {
        return Some((0.5 * query_len / query_len.max(title_len), MatchKind::Fuzzy));
    }
    if query.len() > MAX_WORDY_QUERY {
        return None;
    }
    let title_words: Vec<&str> = words(&title).collect();
    let query_words: Vec<&str> = words(query).collect();
    let shared = query_words.iter().filter(|q| title_words.iter().any(|t| t.contains(**q) || q.contains(t))).count();
    (shared > 0).then(|| (0.4 * shared as f64 / query_words.len() as f64, MatchKind::Fuzzy))
}

fn is_subsequence(query: &str, title: &str) -> bool {
    let mut title = title.chars();
    query.chars().all(|wanted| title.any(|c| c == wanted))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(['-', '_', ' ']).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(vault: &str, titles: &[&str]) -> VaultListing {
        let items = titles.iter().map(|title| ItemSummary::new(format!("id-{vault}-{title}"), *title)).collect();
        VaultListing { vault: Vault::new(format!("id-{vault}"), vault), items: Ok(items) }
    }

    fn unlisted(vault: &str) -> VaultListing {
        VaultListing { items: Err(BackendError::unavailable("down")), ..listing(vault, &[]) }
    }

    fn titles(entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| format!("{}/{}", entry.vault.name, entry.item.title)).collect()
    }

    #[track_caller]
    fn assert_score(query: &str, title: &str, expected: f64, kind: MatchKind) {
        let (score, found) = score(&query.to_lowercase(), title).unwrap();
        assert!((score - expected).abs() < 1e-12, "{query} ~ {title}: {score}");
        assert_eq!(found, kind);
    }

    #[test]
    fn scores_by_the_formulas() {
        assert_score("DB-Prod", "db-prod", 1.0, MatchKind::Exact);
        assert_score("db", "db-prod", 0.9, MatchKind::Prefix);
        assert_score("prod", "db-prod", 0.7 * (0.5 * (1.0 - 3.0 / 7.0) + 0.5 * 4.0 / 7.0), MatchKind::Contains);
        assert_score("dprd", "db-prod", 0.5 * 4.0 / 7.0, MatchKind::Fuzzy);
        assert_score("prod database", "db-prod", 0.4 * 0.5, MatchKind::Fuzzy);
        assert_score("é", "café", 0.7 * (0.5 * (1.0 - 3.0 / 5.0) + 0.5 * 2.0 / 5.0), MatchKind::Contains);
        assert!(score("xyz", "db-prod").is_none());
        assert!(score("", "db-prod").is_none());
        assert!(score("- _", "db-prod").is_none());
    }

    #[test]
    fn ranks_best_first_ties_by_title_then_vault() {
        let listings = [listing("b", &["db-two", "db", "other"]), listing("a", &["db-two", "db-one"])];
        let ranked = rank(&listings, "DB", 10);
        let order: Vec<_> =
            ranked.iter().map(|found| format!("{}/{}", found.entry.vault.name, found.entry.item.title)).collect();
        assert_eq!(order, ["b/db", "a/db-one", "a/db-two", "b/db-two"]);
        assert_eq!(rank(&listings, "db", 2).len(), 2);
    }

    #[test]
    fn a_whole_title_wins_over_prefixes() {
        let listings = [listing("a", &["db", "db-root"])];
        assert!(matches!(resolve(&listings, "db", None), Resolution::Exact(entry) if entry.item.title == "db"));
        assert!(
            matches!(resolve(&listings, "id-a-db-root", None), Resolution::Exact(entry) if entry.item.title == "db-root")
        );
    }

    #[test]
    fn letter_case_decides_only_between_titles_that_differ_in_nothing_else() {
        let listings = [listing("a", &["DB", "db"])];
        assert!(matches!(resolve(&listings, "db", None), Resolution::Exact(entry) if entry.item.title == "db"));
        assert!(matches!(resolve(&listings, "Db", None), Resolution::Ambiguous(both) if both.len() == 2));
    }

    #[test]
    fn one_prefix_is_close_and_two_are_ambiguous() {
        let listings = [listing("a", &["db-root", "cache"])];
        assert!(matches!(resolve(&listings, "db", None), Resolution::Close(entry) if entry.item.title == "db-root"));
        let listings = [listing("a", &["db-root"]), listing("b", &["db-user"])];
        let Resolution::Ambiguous(both) = resolve(&listings, "db", None) else { panic!() };
        assert_eq!(titles(&both), ["a/db-root", "b/db-user"]);
        assert!(
            matches!(resolve(&listings, "db", Some("b")), Resolution::Close(entry) if entry.item.title == "db-user")
        );
        assert!(
            matches!(resolve(&listings, "db", Some("id-a")), Resolution::Close(entry) if entry.item.title == "db-root")
        );
    }

    #[test]
    fn a_title_that_contains_the_name_is_only_suggested() {
        let listings = [listing("a", &["prod-db", "cache"])];
        let Resolution::NotFound(suggestions) = resolve(&listings, "db", None) else { panic!() };
        assert_eq!(titles(&suggestions), ["a/prod-db"]);
        assert_eq!(resolve(&listings, "db", Some("nowhere")), Resolution::NotFound(vec![]));
    }

    #[test]
    fn one_title_in_two_vaults_is_ambiguous() {
        let listings = [listing("a", &["db"]), listing("b", &["db"])];
        assert!(matches!(resolve(&listings, "db", None), Resolution::Ambiguous(both) if both.len() == 2));
        assert!(matches!(resolve(&listings, "db", Some("B")), Resolution::Exact(entry) if entry.vault.name == "b"));
    }

    #[test]
    fn a_title_that_is_anothers_id_is_ambiguous() {
        let listings = [listing("a", &["db"]), listing("b", &["id-a-db"])];
        assert!(matches!(resolve(&listings, "id-a-db", None), Resolution::Ambiguous(both) if both.len() == 2));
    }

    #[test]
    fn beside_a_vault_that_cannot_be_listed_only_exact_counts() {
        let listings = [listing("a", &["db", "web-root"]), unlisted("b")];
        assert!(matches!(resolve(&listings, "db", None), Resolution::Exact(_)));
        assert_eq!(resolve(&listings, "web", None), Resolution::Unlisted(vec!["b".into()]));
        assert_eq!(resolve(&listings, "nope", None), Resolution::Unlisted(vec!["b".into()]));
        assert!(matches!(resolve(&listings, "web", Some("a")), Resolution::Close(_)));
    }

    #[test]
    fn hostile_lengths_stay_linear() {
        let titles: Vec<String> = (0..5_000).map(|n| format!("service-{n}-database password")).collect();
        let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
        let long = "a-".repeat(30_000);
        let listings = [listing("a", &titles), listing("b", &[&long])];
        let started = std::time::Instant::now();
        for query in ["c-".repeat(30_000), "x".repeat(60_000), "a ".repeat(128), "é".repeat(128)] {
            rank(&listings, &query, 10);
            resolve(&listings, &query, None);
        }
        // some 0.2 s without optimization; the product of the lengths would take minutes
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    }
}
