//! The xtask's crates are built of rooms (top-level modules) that import each other without a
//! circle: what two of them need is in a room below both. Between the crates cargo itself sees to
//! that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The folders of the crates' sources, below the xtask's own folder.
const CRATES: &[&str] = &["src", "common/src", "harness/src", "boards/src", "qemu-launcher/src"];

/// A word or a sign of Rust; what is in comments and literals is left out.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let rest = || chars[at..].iter().take(3).collect::<String>();
        if rest().starts_with("//") {
            at += chars[at..].iter().take_while(|c| **c != '\n').count();
        } else if rest().starts_with("/*") {
            let end = chars[at..].windows(2).position(|pair| pair == ['*', '/']);
            at += end.map_or(chars.len(), |end| end + 2);
        } else if c == '"' {
            at = after_string(&chars, at);
        } else if c == '\'' {
            at = after_quote(&chars, at);
        } else if c == '_' || c.is_alphanumeric() {
            let length = chars[at..].iter().take_while(|c| **c == '_' || c.is_alphanumeric()).count();
            let word: String = chars[at..at + length].iter().collect();
            at += length;
            match raw_string(&word, &chars, at) {
                Some(end) => at = end,
                None => tokens.push(word),
            }
        } else {
            let is_path = rest().starts_with("::");
            tokens.push(if is_path { "::".to_owned() } else { c.to_string() });
            at += if is_path { 2 } else { 1 };
        }
    }
    tokens.retain(|token| !token.trim().is_empty());
    tokens
}

fn after_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&c) = chars.get(at) {
        at += if c == '\\' { 2 } else { 1 };
        if c == '"' {
            break;
        }
    }
    at
}

/// A character (`'x'`, `'\n'`), or a lifetime.
fn after_quote(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => {
            start + 3 + chars[(start + 3).min(chars.len())..].iter().take_while(|c| **c != '\'').count() + 1
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start + 1,
    }
}

/// Where a raw string ends, if this word and what follows begin one.
fn raw_string(word: &str, chars: &[char], at: usize) -> Option<usize> {
    if !matches!(word, "r" | "br" | "cr") {
        return None;
    }
    let hashes = chars.get(at..)?.iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = chars.get(at + hashes + 1..)?;
    let length = body.windows(end.len()).position(|window| window == end)?;
    Some(at + hashes + 1 + length + end.len())
}

/// The first words of what a file names from its crate's root: `crate::ROOM`, or `super::` as often
/// as the root is above. `depth` is how far the file's own module is below the root.
fn named_from_root(text: &str, depth: usize) -> BTreeSet<String> {
    let tokens = tokens(text);
    let word = |at: usize| tokens.get(at).map_or("", String::as_str);
    let mut named = BTreeSet::new();
    // Which of the open braces belong to a module in this file.
    let mut braces: Vec<bool> = Vec::new();
    for at in 0..tokens.len() {
        match word(at) {
            "{" => braces.push(at >= 2 && word(at - 2) == "mod"),
            "}" => {
                braces.pop();
            }
            "crate" if word(at + 1) == "::" => first_words(&tokens, at + 2, &mut named),
            "super" if word(at + 1) == "::" && (at == 0 || word(at - 1) != "::") => {
                let supers = (at..).step_by(2).take_while(|at| word(*at) == "super" && word(at + 1) == "::").count();
                if supers == depth + braces.iter().filter(|is_module| **is_module).count() {
                    first_words(&tokens, at + 2 * supers, &mut named);
                }
            }
            _ => {}
        }
    }
    named
}

/// The word at a place; or, where a group opens, the first word of each of its parts.
fn first_words(tokens: &[String], at: usize, named: &mut BTreeSet<String>) {
    if tokens.get(at).is_none_or(|token| token != "{") {
        named.extend(tokens.get(at).cloned());
        return;
    }
    let (mut depth, mut is_first) = (0_usize, false);
    for token in &tokens[at..] {
        match token.as_str() {
            "{" => (depth, is_first) = (depth + 1, depth == 0),
            "}" if depth == 1 => return,
            "}" => depth -= 1,
            "," => is_first = depth == 1,
            word if is_first => {
                named.insert(word.to_owned());
                is_first = false;
            }
            _ => {}
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.flatten().map(|entry| entry.path());
    let files = paths.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The modules above a file's text, from the crate's root on: none for the root itself.
fn modules(file: &Path) -> Vec<String> {
    let mut modules: Vec<String> =
        file.with_extension("").components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    modules.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
    modules
}

/// The rooms of a crate. Its root, which knows all of them, is none.
fn rooms(source: &Path) -> Imports {
    let files = rust_files(source);
    let places = files.iter().map(|file| modules(file.strip_prefix(source).unwrap_or(file)));
    let mut imports = Imports::new();
    for (file, modules) in files.iter().zip(places) {
        let Some(room) = modules.first() else { continue };
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        imports.entry(room.clone()).or_default().extend(named_from_root(&text, modules.len()));
    }
    for (room, imported) in &mut imports {
        imported.remove(room);
    }
    imports
}

/// A way from a room through its imports back to itself.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    fn back_to(start: &str, way: &mut Vec<String>, seen: &mut BTreeSet<String>, imports: &Imports) -> bool {
        let Some(next) = way.last().and_then(|room| imports.get(room)) else { return false };
        next.iter().any(|room| {
            way.push(room.clone());
            let found = room == start || (seen.insert(room.clone()) && back_to(start, way, seen, imports));
            if !found {
                way.pop();
            }
            found
        })
    }
    imports.keys().find_map(|start| {
        let mut way = vec![start.clone()];
        back_to(start, &mut way, &mut BTreeSet::new(), imports).then_some(way)
    })
}

#[test]
fn no_room_imports_itself_through_others() {
    for source in CRATES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let imports = rooms(&folder);
        assert!(imports.len() > 1, "{source} has no rooms: {imports:?}");
        if let Some(way) = circle(&imports) {
            panic!("xtask/{source}: {}", way.join(" imports "));
        }
    }
}

#[test]
fn nothing_is_taken_from_a_crates_root() {
    // What the root defines itself is above all rooms: a room that used it would be in a circle
    // with the root. A library's root shows its rooms' names again for other crates.
    for source in CRATES.iter().filter(|source| **source != "qemu-launcher/src") {
        let imports = rooms(&Path::new(env!("CARGO_MANIFEST_DIR")).join(source));
        for (room, imported) in &imports {
            let strange = imported.iter().find(|name| !imports.contains_key(*name));
            assert_eq!(strange, None, "xtask/{source}: {room} imports what is no room");
        }
    }
}

#[test]
fn a_circle_is_found_however_it_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    write("main.rs", "mod a; mod b; mod c; use crate::a::A;");
    write(
        "a.rs",
        "// crate::c\nconst TEXT: &str = \"crate::c\"; /* use crate::c; */ use crate::b::B; fn f<'a>(_: &'a char) {}",
    );
    write("b/mod.rs", "mod deep; use self::deep::D;");
    write("c.rs", "use crate::{a::A, b::{self, B}}; const RAW: &str = r#\"\" crate::c\"#; const C: char = '\"';");
    assert_eq!(circle(&rooms(folder.path())), None);
    let named = |text: &str| {
        write("b/deep.rs", text);
        circle(&rooms(folder.path())).map(|way| way.join(" "))
    };
    assert_eq!(named("fn f() { super::g(); } mod tests { use super::super::g; }"), None);
    for way in [
        "use crate::c;",
        "use crate::{b, c::C};",
        "use super::super::c::C;",
        "mod tests { use super::super::super::c; }",
        "fn f(_: crate::c::C) {}",
    ] {
        assert!(named(way).is_some(), "{way}");
    }
    assert_eq!(named("use crate::c;").as_deref(), Some("a b c a"));
}
