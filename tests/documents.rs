//! The documents as a test: every link leads somewhere, every block of code is of a kind that
//! a test runs, and generated parts are the program's output. It reads the Markdown
//! files of the repository and opens no network connection.
//!
//! `UPDATE=1 cargo test --test documents` writes the generated part of `docs/limits.md` anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Folders that are not part of the project.
const NOT_OURS: &[&str] = &["target", "node_modules", ".cache", ".git"];

/// The kinds of blocks: `tests/live/snippets.py` runs the first four, `cargo test --doc` runs
/// `rust`, `text` is a program's output, `yaml` is for an orchestrator, and a block without a
/// kind is a drawing.
const KINDS: &[&str] = &["sh", "toml", "js", "python", "rust", "text", "yaml", ""];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_symlink() || NOT_OURS.contains(&name) {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Every file of the project with one of these endings, by its path from the top.
fn files(endings: &[&str]) -> BTreeMap<String, String> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    let is_wanted = |path: &PathBuf| {
        let ending = path.extension().unwrap_or(path.file_name().unwrap()).to_str().unwrap();
        endings.contains(&ending)
    };
    found.retain(is_wanted);
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn documents() -> BTreeMap<String, String> {
    files(&["md"])
}

/// A document's lines, those of its blocks of code apart.
struct Page<'a> {
    /// Outside of blocks, with their numbers from 1.
    prose: Vec<(usize, &'a str)>,
    /// The line where each block begins, and the word behind its fence.
    blocks: Vec<(usize, &'a str)>,
}

fn read(text: &str) -> Page<'_> {
    let mut page = Page { prose: Vec::new(), blocks: Vec::new() };
    let mut is_inside = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            if !is_inside {
                page.blocks.push((index + 1, kind));
            }
            is_inside = !is_inside;
        } else if !is_inside {
            page.prose.push((index + 1, line));
        }
    }
    assert!(!is_inside, "the last block of code has no end");
    page
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("` `")
}

/// The targets of the links and pictures of a line: `[text](target)` and `[name]: target`.
fn targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut found = Vec::new();
    for (at, _) in line.match_indices("](") {
        let rest = &line[at + 2..];
        let end = rest.find(')').unwrap_or_else(|| panic!("a link without an end: {line}"));
        found.push(rest[..end].split(" \"").next().unwrap().trim().to_owned());
    }
    if line.starts_with('[')
        && let Some((_, target)) = line.split_once("]: ")
    {
        found.push(target.trim().to_owned());
    }
    for (at, _) in line.match_indices("<http") {
        let rest = &line[at + 1..];
        found.push(rest[..rest.find('>').expect("the end of an address")].to_owned());
    }
    found
}

/// The text of a heading as a reader sees it.
fn shown(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    // A link is shown as its text.
    while let Some(at) = rest.find("](") {
        text += &rest[..at].replace('[', "");
        rest = rest[at..].split_once(')').expect("the end of a link").1;
    }
    text + rest
}

/// The anchors of a document, as GitHub makes them: in lower case, without punctuation, with
/// `-` for spaces and a number behind a name that was there before.
fn anchors(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (_, line) in read(text).prose {
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if (1..=6).contains(&level)
            && let Some(heading) = line[level..].strip_prefix(' ')
        {
            let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            let name: String = shown(heading.trim())
                .to_lowercase()
                .chars()
                .filter(is_kept)
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            let numbered = (1..).map(|number| format!("{name}-{number}"));
            let mut names = std::iter::once(name.clone()).chain(numbered);
            found.push(names.find(|name| !found.contains(name)).expect("a free name"));
        }
        for start in ["<a id=\"", "<a name=\""] {
            found.extend(
                line.split(start)
                    .skip(1)
                    .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
            );
        }
    }
    found
}

/// A path from the top, with `.` and `..` resolved; none if it leads out of the project.
fn resolved(document: &str, target: &str) -> Option<PathBuf> {
    let mut path = PathBuf::from(document);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            _ => return None,
        }
    }
    Some(path)
}

/// Whether a file is there by exactly this name: some file systems do not look at case.
fn exists(path: &Path) -> bool {
    let mut folder = root();
    path.components().all(|part| {
        let is_there = fs::read_dir(&folder).is_ok_and(|mut all| {
            all.any(|it| it.is_ok_and(|it| it.file_name() == part.as_os_str()))
        });
        folder.push(part);
        is_there
    })
}

/// The fault of a link, if it has one.
fn fault(all: &BTreeMap<String, String>, document: &str, target: &str) -> Option<String> {
    if let Some((scheme, rest)) = target.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_good = ["http", "https"].contains(&scheme)
            && !host.is_empty()
            && !target.contains(char::is_whitespace);
        return (!is_good).then(|| "it is no address".to_owned());
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => PathBuf::from(document),
        _ => match resolved(document, file) {
            Some(path) => path,
            None => return Some("it leads out of the project".to_owned()),
        },
    };
    if !exists(&path) {
        return Some(format!("there is no {}", path.display()));
    }
    if anchor.is_empty() {
        return None;
    }
    let Some(text) = all.get(path.to_str().unwrap()) else {
        return Some(format!("{} is no document: it has no anchors", path.display()));
    };
    let anchors = anchors(text);
    (!anchors.iter().any(|it| it == anchor))
        .then(|| format!("{} has no #{anchor}, but {anchors:?}", path.display()))
}

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let all = documents();
    let mut faults = Vec::new();
    let mut count = 0;
    for (document, text) in &all {
        for (number, line) in read(text).prose {
            for target in targets(line) {
                count += 1;
                if let Some(why) = fault(&all, document, &target) {
                    faults.push(format!("{document}:{number}: {target}: {why}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 20, "only {count} links were found: the documents are read wrongly");
}

#[test]
fn links_are_found_and_judged() {
    let page = "# One `two` three!\n## A [link](x.md), *and* more\n## A link, and more\n";
    assert_eq!(anchors(page), ["one-two-three", "a-link-and-more", "a-link-and-more-1"]);
    assert_eq!(targets("see [a](b.md#c) and ![d](e.webp), not `[f](g.md)`"), ["b.md#c", "e.webp"]);
    assert_eq!(targets("[name]: ../there.md"), ["../there.md"]);
    let pages = [("docs/limits.md", "# Top\n"), ("README.md", "# One\n")];
    let all = pages.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    for (target, expected) in [
        ("../README.md#one", None),
        ("#top", None),
        ("https://example.com/a#b", None),
        ("http://", Some("it is no address")),
        ("ftp://example.com", Some("it is no address")),
        ("../readme.md", Some("there is no readme.md")),
        ("../../elsewhere", Some("it leads out of the project")),
        ("../README.md#two", Some("README.md has no #two, but [\"one\"]")),
    ] {
        assert_eq!(fault(&all, "docs/limits.md", target).as_deref(), expected, "{target}");
    }
}

/// Sources name documents in comments and messages: those names hold too.
#[test]
fn every_document_that_sources_name_is_there() {
    let mut all = files(&["rs", "py", "toml", "js", "mjs", "ts", "html", "Dockerfile", "run"]);
    all.retain(|name, _| name != "tests/documents.rs");
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let mut faults = Vec::new();
    for (file, text) in &all {
        for (at, _) in text.match_indices(".md") {
            let start = text[..at].rfind(|c| !is_part(c)).map_or(0, |before| before + 1);
            let name = text[start..at + 3].trim_start_matches(['.', '/']);
            let is_name = !text[at + 3..].starts_with(|c: char| c.is_ascii_alphanumeric());
            if is_name && name != ".md" && name != "md" && !exists(Path::new(name)) {
                let line = text[..at].lines().count();
                faults.push(format!("{file}:{line}: {name}"));
            }
        }
    }
    assert!(faults.is_empty(), "not at the top of the repository:\n{}", faults.join("\n"));
}

#[test]
fn every_block_of_code_is_of_a_known_kind() {
    for (document, text) in documents() {
        for (line, word) in read(&text).blocks {
            let kind = word.split(',').next().unwrap();
            assert!(KINDS.contains(&kind), "{document}:{line}: a block of kind {kind:?}");
        }
    }
}

#[test]
fn every_document_with_rust_is_compiled() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (document, text) in documents() {
        let has_rust = read(&text).blocks.iter().any(|(_, kind)| kind.starts_with("rust"));
        let is_compiled = library.contains(&format!("include_str!(\"../{document}\")"));
        assert!(!has_rust || is_compiled, "src/lib.rs does not include {document}");
    }
}

/// `docs/limits.md` ends with the program's output.
#[test]
fn the_page_of_limits_is_the_output_of_the_program() {
    let path = root().join("docs/limits.md");
    let page = fs::read_to_string(&path).unwrap();
    let program = Command::new(env!("CARGO_BIN_EXE_tapecast"));
    let printed = { program }.args(["limits", "--markdown"]).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let table = String::from_utf8(printed.stdout).unwrap();
    let (introduction, found) = page.split_once("\n| ").expect("the page has a table");
    let expected = format!("{introduction}\n{table}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        assert!(
            format!("| {found}") == table,
            "docs/limits.md is out of date: run UPDATE=1 cargo test --test documents"
        );
    }
}
