//! From a name to exactly one item, and the ranking of searches.

use std::cmp::Ordering;

use memchr::memmem::Finder;

use crate::wire::Candidate;
use crate::{BackendError, ItemSummary, Vault};

/// One item's title, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) vault: Vault,
    pub(crate) item: ItemSummary,
}

impl Entry {
    fn of((vault, item): (&Vault, &Listed)) -> Self {
        Self { vault: vault.clone(), item: item.summary.clone() }
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
    pub(crate) items: Result<Vec<Listed>, BackendError>,
}

impl VaultListing {
    pub(crate) fn new(vault: Vault, items: Result<Vec<ItemSummary>, BackendError>) -> Self {
        Self { vault, items: items.map(|items| items.into_iter().map(Listed::new).collect()) }
    }
}

/// An item of a listing.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) summary: ItemSummary,
    // the title in lower case, which each search looks at, where that is another text
    lowered: Option<Box<str>>,
}

impl Listed {
    fn new(summary: ItemSummary) -> Self {
        let is_lower = summary.title.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        let lowered = (!is_lower).then(|| summary.title.to_lowercase()).filter(|lowered| *lowered != summary.title);
        Self { summary, lowered: lowered.map(String::into_boxed_str) }
    }

    fn lower_title(&self) -> &str {
        self.lowered.as_deref().unwrap_or(&self.summary.title)
    }
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
        entries().filter(|(_, item)| item.summary.id == name || item.summary.title == name).map(Entry::of).collect();
    if exact.is_empty() {
        exact = entries().filter(|(_, item)| item.lower_title() == lower).map(Entry::of).collect();
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
        entries().filter(|(_, item)| item.lower_title().starts_with(&lower)).map(Entry::of).collect();
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
    let lower = query.to_lowercase();
    let query = Query::new(&lower);
    let mut best: Vec<Ranked<'_>> = Vec::new();
    // the last of the best, once there are enough of them
    let mut bar: Option<Ranked<'_>> = None;
    for (vault, item) in listings.into_iter().flat_map(entries_of) {
        let at_least = bar.map_or(0.0, |bar| bar.score);
        let Some((score, kind)) = query.score(item.lower_title(), at_least) else { continue };
        let ranked = Ranked { score, kind, vault, item };
        // of equally good ones the first in the listings stays
        if bar.is_some_and(|bar| ranked.compare(&bar).is_ge()) {
            continue;
        }
        best.push(ranked);
        if best.len() / 2 >= limit {
            best.sort_by(Ranked::compare);
            best.truncate(limit);
            bar = best.last().copied();
        }
    }
    best.sort_by(Ranked::compare);
    best.truncate(limit);
    best.into_iter().map(Ranked::found).collect()
}

#[derive(Clone, Copy)]
struct Ranked<'a> {
    score: f64,
    kind: MatchKind,
    vault: &'a Vault,
    item: &'a Listed,
}

impl Ranked<'_> {
    fn compare(&self, other: &Self) -> Ordering {
        let by_score = other.score.total_cmp(&self.score);
        by_score
            .then_with(|| self.item.summary.title.cmp(&other.item.summary.title))
            .then_with(|| self.vault.name.cmp(&other.vault.name))
    }

    fn found(self) -> Found {
        Found { entry: Entry::of((self.vault, self.item)), score: self.score, kind: self.kind }
    }
}

/// Whether this is the vault that was meant, by its id or its name.
pub(crate) fn is_called(vault: &Vault, wanted: &str) -> bool {
    vault.id == wanted || vault.name == wanted || vault.name.to_lowercase() == wanted.to_lowercase()
}

fn entries_of(listing: &VaultListing) -> impl Iterator<Item = (&Vault, &Listed)> {
    let items = listing.items.as_deref().unwrap_or_default();
    items.iter().map(|item| (&listing.vault, item))
}

/// A query in lower case, made ready to be looked for in many titles.
struct Query<'a> {
    text: &'a str,
    finder: Finder<'a>,
    words: Vec<(&'a str, Finder<'a>)>,
}

impl<'a> Query<'a> {
    fn new(text: &'a str) -> Self {
        let wordy = if text.len() > MAX_WORDY_QUERY { "" } else { text };
        Self { text, finder: Finder::new(text), words: words(wordy).map(|word| (word, Finder::new(word))).collect() }
    }

    /// How well a title, in lower case too, matches; `None` if not at all, or perhaps if it scores below `at_least`.
    /// Lengths and offsets count UTF-8 bytes of the lower-cased texts.
    #[expect(clippy::cast_precision_loss, reason = "lengths are far below 2^52")]
    fn score(&self, title: &str, at_least: f64) -> Option<(f64, MatchKind)> {
        let query = self.text;
        if query.is_empty() {
            return None;
        }
        let (query_len, title_len) = (query.len() as f64, title.len() as f64);
        if title == query {
            return Some((1.0, MatchKind::Exact));
        }
        // what is longer than the title can't be in it, and looking would cost time with every title
        let could_be_inside = query.len() < title.len();
        if could_be_inside && title.starts_with(query) {
            return Some((0.9, MatchKind::Prefix));
        }
        // nothing from here on scores more, and so on below
        if at_least > 0.7 {
            return None;
        }
        if let Some(offset) = could_be_inside.then(|| self.finder.find(title.as_bytes())).flatten() {
            let early = 1.0 - offset as f64 / title_len;
            return Some((0.7 * (0.5 * early + 0.5 * query_len / title_len), MatchKind::Contains));
        }
        if at_least > 0.5 {
            return None;
        }
        if could_be_inside && is_subsequence(query, title) {
            return Some((0.5 * query_len / query_len.max(title_len), MatchKind::Fuzzy));
        }
        let all = self.words.len() as f64;
        // as it is rounded
        if at_least > 0.4 * all / all {
            return None;
        }
        let shared = self.words.iter().filter(|(word, finder)| {
            // what contains no separator is in the title where it is in one of its words
            finder.find(title.as_bytes()).is_some()
                || words(title).any(|other| other.len() < word.len() && word.contains(other))
        });
        let shared = shared.count();
        (shared > 0).then(|| (0.4 * shared as f64 / all, MatchKind::Fuzzy))
    }
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
        VaultListing::new(Vault::new(format!("id-{vault}"), vault), Ok(items))
    }

    fn unlisted(vault: &str) -> VaultListing {
        VaultListing { items: Err(BackendError::unavailable("down")), ..listing(vault, &[]) }
    }

    fn titles(entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| format!("{}/{}", entry.vault.name, entry.item.title)).collect()
    }

    fn score(query: &str, title: &str) -> Option<(f64, MatchKind)> {
        Query::new(query).score(&title.to_lowercase(), 0.0)
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
    fn what_scores_a_rounding_error_more_is_not_left_out() {
        let ranked = rank(&[listing("a", &["bA"]), listing("b", &["AB"])], "b b a", 1);
        assert_eq!(ranked.first().unwrap().entry.item.title, "AB");
    }

    /// All scores by the letter of the contract, all sorted, the best taken.
    #[expect(clippy::cast_precision_loss, reason = "lengths are short")]
    fn rank_by_hand(listings: &[VaultListing], query: &str, limit: usize) -> Vec<(String, String, f64)> {
        let by_hand = |query: &str, title: &str| {
            let (q, t) = (query.len() as f64, title.len() as f64);
            if title == query {
                return Some(1.0);
            } else if title.starts_with(query) {
                return Some(0.9);
            } else if let Some(offset) = title.find(query) {
                return Some(0.7 * (0.5 * (1.0 - offset as f64 / t) + 0.5 * q / t));
            }
            let mut rest = title.chars();
            if query.chars().all(|wanted| rest.any(|c| c == wanted)) {
                return Some(0.5 * q / q.max(t));
            }
            let wanted: Vec<&str> = words(query).collect();
            let shared = wanted.iter().filter(|q| words(title).any(|t| t.contains(**q) || q.contains(t))).count();
            (shared > 0).then(|| 0.4 * shared as f64 / wanted.len() as f64)
        };
        let mut found: Vec<(String, String, f64)> = Vec::new();
        for listing in listings {
            for item in listing.items.as_ref().unwrap() {
                let score = by_hand(&query.to_lowercase(), &item.summary.title.to_lowercase());
                found.extend(score.map(|score| (item.summary.title.clone(), item.summary.id.clone(), score)));
            }
        }
        let vault = |id: &str| id.split('-').nth(1).map(str::to_owned);
        found.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)).then(vault(&a.1).cmp(&vault(&b.1))));
        found.truncate(limit);
        found
    }

    proptest::proptest! {
        #[test]
        fn ranks_as_the_contract_says(
            titles in proptest::collection::vec("[aAbBéÉİ_ -]{1,6}", 0..60),
            others in proptest::collection::vec("[abB-]{1,4}", 0..30),
            query in "[aAbé -]{1,5}",
            limit in 0..40_usize,
        ) {
            let as_texts = |titles: &[String]| titles.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
            let (titles, others) = (as_texts(&titles), as_texts(&others));
            let listings = [
                listing("b", &titles.lines().collect::<Vec<_>>()),
                listing("a", &others.lines().collect::<Vec<_>>()),
            ];
            let ranked = rank(&listings, &query, limit).into_iter();
            let ranked: Vec<_> = ranked.map(|found| (found.entry.item.title, found.entry.item.id, found.score)).collect();
            proptest::prop_assert_eq!(ranked, rank_by_hand(&listings, &query, limit));
        }
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
