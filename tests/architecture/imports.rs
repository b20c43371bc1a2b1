//! Which file of a crate imports which: reads the sources, resolves every path to the file that
//! defines the item, re-exports followed, and finds circles.
//!
//! It reads text, not syntax trees: paths that begin with `crate`, `super`, `self`, a child
//! module or an imported module are resolved; a macro's expansion is not looked at. Tests are
//! left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's path from the root of its crate; the root itself is empty.
type Module = Vec<String>;

/// A crate's files and their imports of each other.
#[derive(Debug)]
pub struct Imports {
    /// Of each file, by its path relative to the crate's folder: the files it imports.
    pub files: BTreeMap<String, BTreeSet<String>>,
}

/// One source file.
#[derive(Debug)]
struct Source {
    name: String,
    code: String,
    /// The names that `use` brings into scope, each with the path of its item.
    names: BTreeMap<String, Module>,
    /// Paths whose items all are in scope.
    globs: Vec<Module>,
    /// Paths in `use` declarations, as they are written.
    used: Vec<Module>,
}

/// Every Rust file below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file: without comments, strings' contents and tests.
pub fn code(source: &str) -> String {
    let product = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let product = product.split("#[cfg(test)]\npub(super) mod tests {").next().unwrap();
    let product = product.split("#[cfg(all(test").next().unwrap();
    product.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Whether a file holds tests only.
pub fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.contains("/tests/")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The module that a file is, by its path from the crate's folder.
fn module_of(name: &str) -> Module {
    let mut parts: Module = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if ["mod", "main", "lib"].contains(&parts.last().unwrap().as_str()) {
        parts.pop();
    }
    parts
}

/// The paths of a `use` tree, each with the name that it has here.
fn paths_of(tree: &str, start: &[String], out: &mut Vec<(Module, String)>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let mut start = start.to_vec();
        let before = tree[..open].trim().trim_end_matches("::");
        start.extend(
            before.split("::").filter(|part| !part.is_empty()).map(|part| part.trim().to_owned()),
        );
        let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
        let (mut depth, mut from) = (0, 0);
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    paths_of(&inner[from..at], &start, out);
                    from = at + 1;
                }
                _ => {}
            }
        }
        return paths_of(&inner[from..], &start, out);
    }
    if tree.is_empty() {
        return;
    }
    let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
    let mut full = start.to_vec();
    full.extend(path.split("::").map(|part| part.trim().to_owned()));
    if full.last().is_some_and(|last| last == "self") {
        full.pop();
    }
    let name = if name.is_empty() { full.last().unwrap().as_str() } else { name.trim() };
    out.push((full.clone(), name.to_owned()));
}

impl Source {
    fn read(name: String, text: &str) -> Source {
        let code = code(text);
        let (mut names, mut globs, mut used) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (at, _) in code.match_indices("use ") {
            let line = code[..at].rfind('\n').map_or(0, |end| end + 1);
            let before = code[line..at].trim();
            let is_start = before.is_empty() || before == "pub" || before.starts_with("pub(");
            let Some(end) = code[at..].find(';').filter(|_| is_start) else { continue };
            let mut paths = Vec::new();
            paths_of(&code[at + 4..at + end], &[], &mut paths);
            for (mut path, name) in paths {
                if name == "*" {
                    path.pop();
                    globs.push(path);
                } else {
                    used.push(path.clone());
                    names.insert(name, path);
                }
            }
        }
        Source { name, code, names, globs, used }
    }

    fn defines(&self, item: &str) -> bool {
        ["struct", "enum", "fn", "trait", "type", "const", "static", "union", "macro_rules!"]
            .iter()
            .any(|kind| {
                let start = format!("{kind} {item}");
                self.code.match_indices(&start).any(|(at, _)| {
                    !self.code[at + start.len()..].starts_with(is_word)
                        && self.code[..at].chars().next_back().is_none_or(|before| !is_word(before))
                })
            })
    }
}

/// The modules of one crate.
struct Crate {
    modules: BTreeMap<Module, Source>,
}

impl Crate {
    /// The file that defines what `path` names, seen from `module`; none if it is not of this
    /// crate.
    fn resolve(&self, module: &[String], path: &[String], depth: u32) -> Option<Module> {
        let first = path.first()?.as_str();
        let (mut at, mut rest) = match first {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (module.to_vec(), &path[1..]),
            "super" => (module[..module.len().checked_sub(1)?].to_vec(), &path[1..]),
            _ => {
                let child = [module, &path[..1]].concat();
                if self.modules.contains_key(&child) {
                    (child, &path[1..])
                } else if let Some(known) = self.modules.get(module)?.names.get(first)
                    && known.first() != path.first()
                {
                    let known = [known.as_slice(), &path[1..]].concat();
                    return self.resolve(module, &known, depth + 1);
                } else {
                    return None;
                }
            }
        };
        if depth > 8 {
            return None;
        }
        while let Some(next) = rest.first() {
            if next == "super" {
                at.pop();
                rest = &rest[1..];
                continue;
            }
            let child = [at.as_slice(), &rest[..1]].concat();
            if self.modules.contains_key(&child) {
                (at, rest) = (child, &rest[1..]);
                continue;
            }
            let source = self.modules.get(&at)?;
            if source.defines(next) {
                return Some(at);
            }
            if let Some(known) = source.names.get(next) {
                let known = [known.as_slice(), &rest[1..]].concat();
                return self.resolve(&at, &known, depth + 1);
            }
            let through = source.globs.iter().find_map(|glob| {
                let path = [glob.as_slice(), rest].concat();
                let found = self.resolve(&at, &path, depth + 1)?;
                self.modules[&found].defines(next).then_some(found)
            });
            return Some(through.unwrap_or(at));
        }
        // A module, and nothing of it yet.
        None
    }

    /// The files that one file imports.
    fn imports(&self, module: &Module, source: &Source) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut add = |path: &[String]| {
            let target = self.resolve(module, path, 0).and_then(|it| self.modules.get(&it));
            found.extend(target.map(|it| it.name.clone()).filter(|name| *name != source.name));
        };
        source.used.iter().chain(&source.globs).for_each(|path| add(path));
        // Paths in the code: from the first word of each.
        for (at, _) in source.code.match_indices("::") {
            let before = &source.code[..at];
            let start = before.rfind(|c| !is_word(c)).map_or(0, |place| place + 1);
            if before[..start].ends_with("::") || start == at {
                continue;
            }
            let rest = &source.code[start..];
            let end = rest.find(|c: char| !is_word(c) && c != ':').unwrap_or(rest.len());
            let path: Module = rest[..end]
                .split("::")
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect();
            add(&path);
        }
        found
    }
}

impl Imports {
    /// Reads the crate whose files are below `root`; `leave_out` are folders or files of other
    /// crates there.
    pub fn read(root: &Path, leave_out: &[&str]) -> Imports {
        let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let sources =
            files(root).into_iter().map(|path| (name(&path), path)).filter(|(name, _)| {
                !is_test(name) && !leave_out.iter().any(|other| name.starts_with(other))
            });
        let modules = sources
            .map(|(name, path)| {
                let source = Source::read(name.clone(), &fs::read_to_string(path).unwrap());
                (module_of(&name), source)
            })
            .collect();
        let all = Crate { modules };
        let files = all
            .modules
            .iter()
            .map(|(module, source)| (source.name.clone(), all.imports(module, source)))
            .collect();
        Imports { files }
    }

    /// The files that import each other in a circle, circle by circle.
    pub fn circles(&self) -> Vec<Vec<String>> {
        let reach = |from: &String| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(file) = next.pop() {
                for other in self.files.get(&file).into_iter().flatten() {
                    if seen.insert(other.clone()) {
                        next.push(other.clone());
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&String, BTreeSet<String>> =
            self.files.keys().map(|file| (file, reach(file))).collect();
        let mut circles: Vec<Vec<String>> = Vec::new();
        for file in self.files.keys().filter(|file| reached[*file].contains(*file)) {
            if circles.iter().flatten().any(|known| known == file) {
                continue;
            }
            let others = reached[file].iter().filter(|other| reached[*other].contains(file));
            circles.push(others.cloned().collect());
        }
        circles
    }
}
