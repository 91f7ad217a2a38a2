use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

fn entry(title: &str) -> AuditEntry {
    AuditEntry {
        at: SystemTime::UNIX_EPOCH,
        event: AuditEvent::Released,
        request_id: "4f2a91c0".to_owned().into(),
        requester: Requester::with_key("build-vm-3", true).at("10.0.0.7"),
        items: vec![AuditItem {
            vault_id: "v".into(),
            vault: "infra".into(),
            item_id: "i".into(),
            title: title.into(),
            fields: vec!["password".into()],
        }],
        intended_use: Some(Use::any_command()),
        by: Some("Ann".into()),
    }
}

/// A folder with an audit log in it.
struct Log {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        Self { _folder: folder, path }
    }

    /// With this many lines, and what their anchors were.
    async fn of(count: usize) -> (Self, Vec<AuditAnchor>) {
        let log = Self::new();
        let file = FileAudit::open(&log.path).unwrap();
        let mut anchors = Vec::new();
        for number in 0..count {
            anchors.push(file.append(&entry(&format!("item {number}"))).await.unwrap().unwrap());
        }
        (log, anchors)
    }

    async fn append(&self) -> AuditAnchor {
        FileAudit::open(&self.path).unwrap().append(&entry("one more")).await.unwrap().unwrap()
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.path).unwrap().lines().map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        fs::write(&self.path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }

    fn verify(&self, anchors: &[AuditAnchor]) -> Result<Verified, Vec<String>> {
        verify_files(&[&self.path], anchors)
    }

    fn note(&self) -> String {
        let notes = self.verify(&[]).unwrap().notes;
        assert_eq!(notes.len(), 1, "{notes:?}");
        notes.into_iter().next().unwrap()
    }
}

fn verify_files(files: &[&PathBuf], anchors: &[AuditAnchor]) -> Result<Verified, Vec<String>> {
    verify(files, anchors).map_err(|error| match error {
        VerifyError::NotWhole { findings } => findings.iter().map(ToString::to_string).collect(),
        VerifyError::Unreadable { source, .. } => vec![source.to_string()],
    })
}

/// All lines of a log with their hashes made anew, as somebody does who knows how it works.
fn rechained(lines: &[String]) -> Vec<String> {
    let mut prev = "0".repeat(64);
    let mut all = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        // behind number and hash
        let rest = line.splitn(3, ',').nth(2).unwrap();
        let line = format!(r#"{{"n":{},"prev":"{prev}",{rest}"#, at + 1);
        prev = hash(&line);
        all.push(line);
    }
    all
}

fn hash(line: &str) -> String {
    hex::encode(<sha2::Sha256 as sha2::Digest>::digest(line))
}

#[tokio::test]
async fn file_holds_one_line_an_entry_and_is_private() {
    let log = Log::new();
    let mut prev = "0".repeat(64);
    for n in 1..=2 {
        let anchor = FileAudit::open(&log.path).unwrap().append(&entry("two\nlines")).await.unwrap().unwrap();
        let line = &log.lines()[n - 1];
        let rest = r#""at":"1970-01-01T00:00:00.000Z","event":"released","request_id":"4f2a91c0","requester":{"key":"build-vm-3","broker":true,"address":"10.0.0.7"},"items":[{"vault_id":"v","vault":"infra","item_id":"i","title":"two\nlines","fields":["password"]}],"use":{"exec":"any"},"by":"Ann"}"#;
        assert_eq!(line, &format!(r#"{{"n":{n},"prev":"{prev}",{rest}"#));
        prev = hash(line);
        assert_eq!(anchor.to_string(), format!("{n}:{}", &prev[..16]));
    }
    assert_eq!(log.verify(&[]).unwrap().lines, 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&log.path), 0o600);
        fs::set_permissions(&log.path, fs::Permissions::from_mode(0o644)).unwrap();
        log.append().await;
        assert_eq!(mode(&log.path), 0o600);
    }
}

#[tokio::test]
async fn edits_are_found_by_themselves() {
    let (log, anchors) = Log::of(5).await;
    let lines = log.lines();
    assert_eq!(log.verify(&anchors).unwrap().last.as_ref(), anchors.last());
    for at in 0..4 {
        let mut edited = lines.clone();
        edited[at] = edited[at].replace("Ann", "Bob");
        log.write(&edited);
        let changed = format!("line {} was changed, or the hash of it that the next line carries", at + 1);
        assert_eq!(log.verify(&[]).unwrap_err(), [changed]);
    }
    // the last line has nobody behind it; whoever remembers it finds out
    let mut edited = lines;
    edited[4] = edited[4].replace("Ann", "Bob");
    log.write(&edited);
    assert_eq!(log.verify(&[]).unwrap().lines, 5);
    let rewritten = format!("the line {} is not the one that it was: it was rewritten", anchors[4]);
    assert_eq!(log.verify(&anchors).unwrap_err(), [rewritten]);
}

#[tokio::test]
async fn every_single_byte_counts() {
    let (log, anchors) = Log::of(3).await;
    let bytes = fs::read(&log.path).unwrap();
    for at in 0..bytes.len() {
        let mut edited = bytes.clone();
        edited[at] ^= 1;
        fs::write(&log.path, &edited).unwrap();
        assert!(log.verify(&anchors).is_err(), "byte {at} of {:?}", String::from_utf8_lossy(&edited));
    }
}

#[tokio::test]
async fn deletions_are_found_by_themselves() {
    let (log, _) = Log::of(5).await;
    let lines = log.lines();
    let without = |range: std::ops::Range<usize>| {
        let mut left = lines.clone();
        left.drain(range);
        log.write(&left);
        log.verify(&[]).unwrap_err()
    };
    assert_eq!(without(2..3), ["line 3 is missing"]);
    assert_eq!(without(1..4), ["lines 2 to 4 are missing"]);
    assert_eq!(without(0..2), ["the log begins at line 3; the lines before it were removed, or are in another file"]);
    // numbers made anew do not help
    let mut left = lines.clone();
    left.remove(2);
    left[2] = left[2].replace("\"n\":4", "\"n\":3");
    left[3] = left[3].replace("\"n\":5", "\"n\":4");
    log.write(&left);
    assert_eq!(log.verify(&[]).unwrap_err().len(), 2);
}

#[tokio::test]
async fn moves_and_repetitions_are_found_by_themselves() {
    let (log, _) = Log::of(5).await;
    let mut moved = log.lines();
    moved.swap(1, 2);
    log.write(&moved);
    let findings = log.verify(&[]).unwrap_err();
    assert_eq!(findings, ["line 2 is missing", "line 2 comes after line 3", "line 3 is missing"]);
    moved.swap(1, 2);
    moved.push(moved[1].clone());
    log.write(&moved);
    assert_eq!(log.verify(&[]).unwrap_err(), ["line 2 comes after line 5"]);
}

#[tokio::test]
async fn what_was_cut_off_is_found_against_an_anchor() {
    let (log, anchors) = Log::of(5).await;
    log.write(&log.lines()[..3]);
    assert_eq!(log.verify(&anchors[..3]).unwrap().lines, 3, "alone it looks whole");
    let cut_off = format!("the log ends at line 3, although there was a line {}: lines were cut off", anchors[4]);
    assert_eq!(log.verify(&anchors[4..]).unwrap_err(), [cut_off]);
    // what is appended later does not cover it up
    log.append().await;
    log.append().await;
    let rewritten = format!("the line {} is not the one that it was: it was rewritten", anchors[4]);
    assert_eq!(log.verify(&anchors[4..]).unwrap_err(), [rewritten]);
    fs::write(&log.path, "").unwrap();
    assert!(log.verify(&[]).unwrap().last.is_none());
    assert!(log.verify(&anchors[..1]).unwrap_err()[0].starts_with("the log ends at line 0,"));
}

#[tokio::test]
async fn a_log_that_is_cut_off_under_its_writer_shows_the_gap_by_itself() {
    let log = Log::new();
    let file = FileAudit::open(&log.path).unwrap();
    for _ in 0..5 {
        file.append(&entry("item")).await.unwrap();
    }
    log.write(&log.lines()[..2]);
    file.append(&entry("item")).await.unwrap();
    assert_eq!(log.verify(&[]).unwrap_err(), ["lines 3 to 5 are missing"]);
}

#[tokio::test]
async fn an_end_that_is_changed_under_its_writer_shows_by_itself() {
    let longer = |line: &String| line.replace("Ann", "Annabel");
    type Change<'a> = &'a dyn Fn(&[String]) -> Vec<String>;
    let changes: [Change<'_>; 4] = [
        &|lines| rechained(&[&lines[..4], &[longer(&lines[4])]].concat()),
        &|lines| [&lines[..4], &[lines[4].replace("Ann", "Bob")]].concat(),
        &|lines| rechained(&lines.iter().map(longer).collect::<Vec<_>>()),
        &|lines| rechained(&[lines, &[longer(&lines[4]), longer(&lines[3])]].concat())[..7].to_vec(),
    ];
    for (at, change) in changes.iter().enumerate() {
        let log = Log::new();
        let file = FileAudit::open(&log.path).unwrap();
        for number in 0..5 {
            file.append(&entry(&format!("item {number}"))).await.unwrap();
        }
        log.write(&change(&log.lines()));
        file.append(&entry("item")).await.unwrap();
        // lines that hang on what was there are another writer's
        assert_eq!(log.verify(&[]).is_ok(), at == 3, "change {at}: {:?}", log.verify(&[]));
    }
}

#[tokio::test]
async fn a_log_written_anew_is_found_against_an_anchor() {
    let (log, anchors) = Log::of(5).await;
    let lines: Vec<String> = log.lines().iter().map(|line| line.replace("Ann", "Bob")).collect();
    log.write(&rechained(&lines));
    assert_eq!(log.verify(&[]).unwrap().lines, 5, "alone it looks whole");
    for anchor in &anchors {
        let rewritten = format!("the line {anchor} is not the one that it was: it was rewritten");
        assert_eq!(log.verify(std::slice::from_ref(anchor)).unwrap_err(), [rewritten]);
    }
    // an anchor also covers all that comes before it
    let mut lines = log.lines();
    lines.remove(0);
    log.write(&rechained(&lines));
    assert!(log.verify(&anchors[2..3]).is_err());
}

#[tokio::test]
async fn half_a_line_is_kept_and_noted() {
    let (log, _) = Log::of(2).await;
    let whole = fs::read(&log.path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // cut off wherever a crash may do it
    for cut in second + 1..whole.len() - 1 {
        fs::write(&log.path, &whole[..cut]).unwrap();
        assert_eq!(log.note(), format!("{} ends in half a line, which does not count", log.path.display()));
        let anchor = log.append().await;
        assert_eq!(anchor.position, 3, "line 2 says what the bytes are, line 3 is the entry");
        // with the line break that ends them
        let torn = cut - second + 1;
        assert_eq!(log.note(), format!("before line 2, {torn} bytes that are no line; they do not count"));
    }
    // a line of which only the break is missing is whole
    fs::write(&log.path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(log.verify(&[]).unwrap().lines, 2);
    assert_eq!(log.append().await.position, 3);
    assert_eq!(log.verify(&[]).unwrap().notes, Vec::<String>::new());
    // so is the very first line
    for cut in 1..second - 1 {
        fs::write(&log.path, &whole[..cut]).unwrap();
        log.append().await;
        assert!(log.note().starts_with("before line 1, "));
    }
    // and garbage that a lost disk block leaves
    fs::write(&log.path, [&whole[..], &[0; 5000], b"\nx\n\xff"].concat()).unwrap();
    log.append().await;
    assert_eq!(log.note(), "before line 3, 5005 bytes that are no line; they do not count");
}

#[tokio::test]
async fn half_a_line_that_nobody_noted_is_foreign() {
    let (log, _) = Log::of(3).await;
    let mut lines = log.lines();
    lines.insert(2, "{\"n\":".to_owned());
    log.write(&lines);
    assert_eq!(log.verify(&[]).unwrap_err(), [format!("{}:3 is no line of an audit log", log.path.display())]);

    let (log, _) = Log::of(1).await;
    fs::OpenOptions::new().append(true).open(&log.path).unwrap().set_len(100).unwrap();
    log.append().await;
    let noted = fs::read_to_string(&log.path).unwrap();
    assert!(log.verify(&[]).is_ok());
    // other bytes than those noted, or none
    let vanished = ["line 1 notes what a crash left before it, which is not there, or is something else"];
    fs::write(&log.path, noted.replacen("\"n\"", "\"m\"", 1)).unwrap();
    assert_eq!(log.verify(&[]).unwrap_err(), vanished);
    log.write(&noted.lines().skip(1).map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(log.verify(&[]).unwrap_err(), vanished);
}

#[tokio::test]
async fn only_half_a_line_at_the_very_end_may_be_a_crash() {
    let (log, anchors) = Log::of(2).await;
    let whole = fs::read_to_string(&log.path).unwrap();
    let foreign = [format!("{}:3 is no line of an audit log", log.path.display())];
    fs::write(&log.path, format!("{whole}{{\"n\":3\n")).unwrap();
    assert_eq!(log.verify(&anchors).unwrap_err(), foreign, "a whole line of something else");
    fs::write(&log.path, &whole).unwrap();
    let archive = rotate(&log.path).unwrap().unwrap();
    fs::write(&archive, format!("{whole}{{\"n\":")).unwrap();
    assert_eq!(log.verify(&[]).unwrap_err(), [format!("{}:3 is no line of an audit log", archive.display())]);
}

#[tokio::test]
async fn a_line_takes_back_the_one_before_it_and_no_other() {
    let (log, _) = Log::of(3).await;
    let void = |line: u64| {
        let mut lines = log.lines();
        lines.push(format!(r#"{{"n":4,"prev":"{}","event":"void","line":{line}}}"#, hash(&lines[2])));
        log.write(&lines);
        let verified = log.verify(&[]);
        log.write(&lines[..3]);
        verified
    };
    assert_eq!(void(3).unwrap().notes, ["line 3 did not count: it was not surely kept when it was written"]);
    for line in [1, 2, 4, 999] {
        assert_eq!(void(line).unwrap_err(), [format!("line 4 takes back line {line}, which is not the one before it")]);
    }
}

#[tokio::test]
async fn what_was_refused_and_stands_there_all_the_same_is_taken_back() {
    let (log, _) = Log::of(1).await;
    let mut writer = file::Opened::at(&log.path, false).unwrap();
    // refused several times, and the first time the line got there, and could not be removed
    let heads: Vec<_> = (0..3).map(|number| writer.refuse(&entry(&format!("refused {number}")))).collect();
    fs::write(&log.path, format!("{}{}", fs::read_to_string(&log.path).unwrap(), heads[0])).unwrap();
    writer.append(&log.path, Some(&entry("next"))).unwrap();
    assert_eq!(log.lines().len(), 4);
    assert_eq!(log.note(), "line 2 did not count: it was not surely kept when it was written");
}

#[tokio::test]
async fn rotation_keeps_the_chain() {
    let (log, mut anchors) = Log::of(3).await;
    let writer = FileAudit::open(&log.path).unwrap();
    let first = rotate(&log.path).unwrap().unwrap();
    assert_eq!(first.file_name().unwrap(), "audit.jsonl.1-3");
    assert_eq!(rotate(&log.path).unwrap(), None, "nothing was written since");
    // who had the log open goes on in the new file, and so does one who opens it now
    anchors.push(writer.append(&entry("item")).await.unwrap().unwrap());
    anchors.push(log.append().await);
    assert_eq!(anchors.iter().map(|anchor| anchor.position).collect::<Vec<_>>(), [1, 2, 3, 5, 6]);
    let second = rotate(&log.path).unwrap().unwrap();
    assert_eq!(second.file_name().unwrap(), "audit.jsonl.4-6");
    anchors.push(writer.append(&entry("item")).await.unwrap().unwrap());

    let verified = log.verify(&anchors).unwrap();
    assert_eq!(verified.files, [first.clone(), second.clone(), log.path.clone()]);
    assert_eq!((verified.lines, verified.last), (8, anchors.last().cloned()));
    assert!(
        fs::read_dir(log.path.parent().unwrap()).unwrap().all(|file| !file
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".new"))
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&log.path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    // an edit in a file that was set aside
    let text = fs::read_to_string(&first).unwrap();
    fs::write(&first, text.replacen("Ann", "Bob", 1)).unwrap();
    assert_eq!(log.verify(&[]).unwrap_err().len(), 1);
    // its last line as well: the next file holds its hash
    fs::write(&first, text.replace("item 2", "item 3")).unwrap();
    assert!(log.verify(&[]).unwrap_err()[0].starts_with("line 3 was changed"));
    fs::remove_file(&second).unwrap();
    let missing = "the log begins at line 7; the lines before it are in audit.jsonl.4-6, which is not there";
    assert_eq!(log.verify(&[]).unwrap_err(), [missing]);
    assert_eq!(verify_files(&[&first, &log.path], &[]).unwrap_err().last().unwrap(), "lines 4 to 6 are missing");
}

#[cfg(unix)]
#[tokio::test]
async fn rotation_writes_through_no_link_and_cleans_up_after_itself() {
    let (log, _) = Log::of(2).await;
    let folder = log.path.parent().unwrap();
    let precious = folder.join("precious");
    fs::write(&precious, "precious").unwrap();
    std::os::unix::fs::symlink(&precious, folder.join(".audit.jsonl.new")).unwrap();
    // cut off between its two names
    fs::hard_link(&log.path, folder.join("audit.jsonl.1-1")).unwrap();
    // the log itself may be a link to another place
    let link = folder.join("link.jsonl");
    std::os::unix::fs::symlink(&log.path, &link).unwrap();
    assert_eq!(rotate(&link).unwrap().unwrap().file_name().unwrap(), "audit.jsonl.1-2");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    assert!(link.is_symlink() && !folder.join("audit.jsonl.1-1").exists());
    assert_eq!(log.verify(&[]).unwrap().lines, 3);

    // a first line that a crash tore hides no others
    let log = Log::new();
    fs::write(&log.path, "{\"n\":1,").unwrap();
    log.append().await;
    assert_eq!(rotate(&log.path).unwrap().unwrap().file_name().unwrap(), "audit.jsonl.1-2");
    log.verify(&[]).unwrap();
}

#[tokio::test]
async fn a_log_renamed_by_others_goes_on_in_a_new_file() {
    let (log, _) = Log::of(1).await;
    let writer = FileAudit::open(&log.path).unwrap();
    let old = log.path.with_extension("old");
    fs::rename(&log.path, &old).unwrap();
    let anchor = writer.append(&entry("item")).await.unwrap().unwrap();
    assert_eq!(anchor.position, 3, "line 2 says that line 1 is elsewhere");
    let alone = "the log begins at line 2; the lines before it were removed, or are in another file";
    assert_eq!(log.verify(&[]).unwrap_err(), [alone]);
    assert_eq!(verify_files(&[&old, &log.path], &[anchor]).unwrap().lines, 3);
}

#[tokio::test]
async fn many_writers_lose_and_tear_nothing() {
    let log = Log::new();
    let writers: Vec<_> = (0..4).map(|_| Arc::new(FileAudit::open(&log.path).unwrap())).collect();
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let writer = Arc::clone(&writers[number % writers.len()]);
            tokio::spawn(async move { writer.append(&entry(&format!("item {number}"))).await.unwrap().unwrap() })
        })
        .collect();
    rotate(&log.path).unwrap();
    let mut anchors = Vec::new();
    for task in tasks {
        anchors.push(task.await.unwrap());
    }
    let verified = log.verify(&anchors).unwrap();
    let (lines, parts) = (verified.lines, verified.files.len());
    assert_eq!(lines as usize, 100 + parts - 1, "a line a write, and one a file that continues another");
    assert_eq!(verified.notes, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_audit_log_is_not_written_to() {
    let log = Log::new();
    for content in ["root:x:0:0\n", "{}\n", "\n", "{\"n\":2,", "\u{feff}{\"n\":1"] {
        fs::write(&log.path, content).unwrap();
        let error = FileAudit::open(&log.path).unwrap_err();
        assert!(error.to_string().starts_with("it holds something else than an audit log"), "{content}: {error}");
        assert_eq!(fs::read_to_string(&log.path).unwrap(), content);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = || fs::metadata(&log.path).unwrap().permissions().mode() & 0o777;
        fs::set_permissions(&log.path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(FileAudit::open(&log.path).is_err());
        assert_eq!(mode(), 0o644, "nothing about it is changed");
        let folder = log.path.parent().unwrap();
        std::os::unix::fs::symlink(folder.join("nowhere"), folder.join("dangling")).unwrap();
        assert!(FileAudit::open(folder.join("dangling")).is_err() && !folder.join("nowhere").exists());
        fs::create_dir(folder.join("everybody's")).unwrap();
        fs::set_permissions(folder.join("everybody's"), fs::Permissions::from_mode(0o777)).unwrap();
        let error = FileAudit::open(folder.join("everybody's/audit.jsonl")).unwrap_err();
        assert_eq!(error.to_string(), "everybody can write to its folder");
    }
    fs::write(&log.path, vec![b'x'; 20 * 1024 * 1024]).unwrap();
    assert!(FileAudit::open(&log.path).is_err());
    for path in [log.path.parent().unwrap(), Path::new("/dev/null"), &log.path.join("below")] {
        assert!(FileAudit::open(path).is_err(), "{}", path.display());
    }
    assert!(rotate(log.path.with_extension("none")).is_err());
    assert!(verify(&[log.path.with_extension("none")], &[]).is_err());
    fs::write(&log.path, "").unwrap();
    assert_eq!(rotate(&log.path).unwrap(), None);
    log.verify(&[]).unwrap();
}

#[tokio::test]
async fn a_long_last_line_is_found() {
    let log = Log::new();
    let file = FileAudit::open(&log.path).unwrap();
    for length in [70_000, 300_000] {
        file.append(&entry(&"x".repeat(length))).await.unwrap();
    }
    assert_eq!(log.append().await.position, 3);
    log.verify(&[]).unwrap();
    file.append(&entry(&"x".repeat(16 * 1024 * 1024))).await.unwrap_err();
    assert_eq!(log.append().await.position, 4);
    assert_eq!(log.verify(&[]).unwrap().notes, Vec::<String>::new());
}

#[cfg(unix)]
#[tokio::test]
async fn what_never_ends_is_not_read() {
    let (log, _) = Log::of(1).await;
    let folder = log.path.parent().unwrap();
    let pipe = folder.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for file in [pipe.as_path(), Path::new("/dev/zero"), folder] {
        assert!(verify(&[file], &[]).is_err(), "{}", file.display());
    }
    for name in ["pipe", "../../../../../../dev/zero", "audit.jsonl", ""] {
        let prev = "0".repeat(64);
        log.write(&[format!(r#"{{"n":2,"prev":"{prev}","event":"continued","after":"{name}"}}"#)]);
        assert!(log.verify(&[]).is_err(), "{name}");
    }
}
