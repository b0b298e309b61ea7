//! Kernel modules with what they depend on, and the tables by which `modprobe` finds them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use goblin::elf::Elf;

use super::tree::Tree;

/// What a module says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct About {
    depends: Vec<String>,
    aliases: Vec<String>,
}

/// Takes the modules, and all that they depend on, into `into`, with modules.dep and modules.alias.
///
/// # Errors
/// When there is no such module, or it is no module.
pub fn take_modules(into: &mut Tree, from: &Tree, wanted: &[String]) -> Result<()> {
    let paths = from.matching("usr/lib/modules/*.ko")?;
    let by_name: BTreeMap<String, &String> = paths.iter().map(|path| (name_of(path), path)).collect();
    let folder = paths.first().map(|path| path.splitn(5, '/').take(4).collect::<Vec<_>>().join("/"));
    let folder = folder.context("the kernel has no modules")?;

    let mut taken: BTreeMap<String, About> = BTreeMap::new();
    let mut open: Vec<String> = wanted.iter().map(|name| canonical(name)).collect();
    while let Some(name) = open.pop() {
        if taken.contains_key(&name) {
            continue;
        }
        let path = by_name.get(&name).with_context(|| format!("the kernel has no module {name}"))?;
        let about = about(from.data(path).unwrap_or_default()).with_context(|| (*path).clone())?;
        into.take(from, path)?;
        open.extend(about.depends.iter().cloned());
        taken.insert(name, about);
    }

    let relative = |name: &String| {
        let path = by_name.get(name).map_or("", |path| path.as_str());
        path.strip_prefix(&folder).unwrap_or(path).trim_start_matches('/').to_owned()
    };
    let (mut dependencies, mut aliases) = (String::new(), String::new());
    for (name, about) in &taken {
        let depends: String =
            all_dependencies(&taken, name).iter().map(|name| format!(" {}", relative(name))).collect();
        dependencies += &format!("{}:{depends}\n", relative(name));
        about.aliases.iter().for_each(|alias| aliases += &format!("alias {alias} {name}\n"));
    }
    into.add_file(&format!("{folder}/modules.dep"), 0o644, dependencies);
    into.add_file(&format!("{folder}/modules.alias"), 0o644, aliases);
    Ok(())
}

/// What has to be loaded before a module, the last one first: the order of modules.dep.
fn all_dependencies(modules: &BTreeMap<String, About>, name: &str) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    let mut open = modules.get(name).map(|about| about.depends.clone()).unwrap_or_default();
    while !open.is_empty() {
        let mut next = Vec::new();
        for one in open {
            // Whatever needs it comes before it, also where it was named earlier.
            order.retain(|earlier| *earlier != one);
            next.extend(modules.get(&one).map(|about| about.depends.clone()).unwrap_or_default());
            order.push(one);
        }
        open = next;
    }
    order
}

fn about(module: &[u8]) -> Result<About> {
    let elf = Elf::parse(module)?;
    let section = elf.section_headers.iter().find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".modinfo"));
    let range = section.and_then(|header| header.file_range()).context("no kernel module")?;
    Ok(parse(module.get(range).context("a kernel module that is cut short")?))
}

/// The section `.modinfo`: `key=value`, each with a zero byte behind it.
fn parse(section: &[u8]) -> About {
    let mut about = About::default();
    for field in section.split(|byte| *byte == 0) {
        let field = String::from_utf8_lossy(field);
        match field.split_once('=') {
            Some(("depends", list)) => {
                about.depends.extend(list.split(',').filter(|name| !name.is_empty()).map(canonical));
            }
            Some(("alias", alias)) => about.aliases.push(alias.to_owned()),
            _ => {}
        }
    }
    about
}

/// The file's name is the module's; `-` and `_` are the same.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    canonical(file.split('.').next().unwrap_or(file))
}

fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        let about = parse(b"license=GPL\0depends=libiscsi-tcp,libiscsi\0\0alias=pci:v1\0alias=x\0intree=Y\0");
        assert_eq!(about.depends, ["libiscsi_tcp", "libiscsi"]);
        assert_eq!(about.aliases, ["pci:v1", "x"]);
        assert_eq!(parse(b"depends=\0"), About::default());
        assert_eq!(name_of("usr/lib/modules/6.1/kernel/crc32c-intel.ko"), "crc32c_intel");
    }

    #[test]
    fn what_is_needed_first_stands_last() {
        let module = |name: &str, depends: &[&str]| {
            let depends = depends.iter().map(|name| (*name).to_owned()).collect();
            (name.to_owned(), About { depends, aliases: Vec::new() })
        };
        let modules: BTreeMap<String, About> =
            [module("a", &["c", "b"]), module("b", &["c"]), module("c", &["d"]), module("d", &[])].into();
        assert_eq!(all_dependencies(&modules, "a"), ["b", "c", "d"]);
        assert!(all_dependencies(&modules, "d").is_empty());
    }
}
