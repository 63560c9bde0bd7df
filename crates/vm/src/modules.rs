//! The modules of a kernel: which are there, and in which order they are loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use suture_kernel::KernelRelease;
use suture_kernel::image::decompress_module;
use suture_kernel::modinfo::Modinfo;

use crate::VmError;

/// A module that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    /// Without it, a module that the kernel doesn't have is an error.
    pub if_present: bool,
}

impl Wanted {
    pub fn needed(name: &str) -> Self {
        Self {
            name: normal(name),
            if_present: false,
        }
    }

    pub fn if_present(name: &str) -> Self {
        Self {
            if_present: true,
            ..Self::needed(name)
        }
    }
}

/// A module that is a file of this kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFile {
    /// The name in memory, with `_` where the file may have `-`.
    pub name: String,
    /// Below the modules folder, always ending in `.ko`.
    pub path: String,
    /// Uncompressed.
    pub bytes: Vec<u8>,
    pub depends: Vec<Wanted>,
    pub aliases: Vec<String>,
}

/// The modules folder of a kernel.
#[derive(Debug)]
pub struct ModuleTree {
    root: PathBuf,
    release: KernelRelease,
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

impl ModuleTree {
    /// Looks over `lib/modules/RELEASE`.
    pub fn open(root: &Path) -> Result<Self, VmError> {
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let release = name.parse().map_err(|source| VmError::ModulesFolder {
            path: root.to_owned(),
            source,
        })?;
        let mut files = BTreeMap::new();
        walk(&root.join("kernel"), &mut files)?;
        let list = root.join("modules.builtin");
        let built_in = fs::read_to_string(&list).map_err(VmError::file("read", &list))?;
        Ok(Self {
            root: root.to_owned(),
            release,
            files,
            built_in: built_in
                .lines()
                .filter_map(|line| name_of(Path::new(line)))
                .collect(),
        })
    }

    pub fn release(&self) -> &KernelRelease {
        &self.release
    }

    /// Whether the kernel has it, as a file or built in.
    pub fn has(&self, module: &str) -> bool {
        self.files.contains_key(module) || self.built_in.contains(module)
    }

    /// The modules wanted and all that they depend on, in an order in which they can be loaded.
    pub fn load_order(&self, wanted: &[Wanted]) -> Result<Vec<ModuleFile>, VmError> {
        load_order(wanted, &mut |module| self.read(module))
    }

    /// `None`: built in, or missing and not needed.
    fn read(&self, wanted: &Wanted) -> Result<Option<ModuleFile>, VmError> {
        if self.built_in.contains(&wanted.name) {
            return Ok(None);
        }
        match self.files.get(&wanted.name) {
            Some(path) => self.read_file(&wanted.name, path).map(Some),
            None if wanted.if_present => Ok(None),
            None => Err(VmError::NoModule {
                release: self.release.to_string(),
                module: wanted.name.clone(),
            }),
        }
    }

    fn read_file(&self, name: &str, path: &Path) -> Result<ModuleFile, VmError> {
        let packed = fs::read(path).map_err(VmError::file("read", path))?;
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| VmError::Module {
            path: path.to_owned(),
            source,
        };
        let bytes = decompress_module(&packed).map_err(|error| unreadable(error.into()))?;
        let modinfo = Modinfo::of_module(&bytes).map_err(|error| unreadable(error.into()))?;
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        Ok(ModuleFile {
            name: name.to_owned(),
            path: uncompressed_name(&relative.to_string_lossy()),
            depends: dependencies(&modinfo),
            aliases: modinfo.all("alias").map(str::to_owned).collect(),
            bytes: bytes.into_owned(),
        })
    }
}

/// What a module needs: `depends=`, and `softdep=pre:` where the module is there.
fn dependencies(modinfo: &Modinfo) -> Vec<Wanted> {
    let hard = modinfo.get("depends").unwrap_or_default().split(',');
    let hard = hard.filter(|name| !name.is_empty()).map(Wanted::needed);
    let soft = modinfo.all("softdep").flat_map(soft_dependencies);
    hard.chain(soft.map(|name| Wanted::if_present(&name)))
        .collect()
}

/// The modules of a `pre: a b post: c`. A cipher's alias (`crc32c`, `crypto-crc32c`) stands for the
/// plain implementation that every kernel has, `crc32c_generic`.
fn soft_dependencies(softdep: &str) -> Vec<String> {
    let words = softdep.split_whitespace();
    let before = words.skip_while(|word| *word != "pre:").skip(1);
    let names = before.take_while(|word| *word != "post:");
    let modules = names.flat_map(|name| {
        let cipher = name.strip_prefix("crypto-").unwrap_or(name);
        [name.to_owned(), format!("{cipher}_generic")]
    });
    modules.collect()
}

/// Depth first, dependencies before their user. A circle, which the kernel's build forbids, is
/// cut where it closes.
fn load_order(
    wanted: &[Wanted],
    read: &mut dyn FnMut(&Wanted) -> Result<Option<ModuleFile>, VmError>,
) -> Result<Vec<ModuleFile>, VmError> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    // A module is pushed twice: to be opened, and to be listed after its dependencies.
    let mut stack: Vec<(Wanted, Option<ModuleFile>)> = Vec::new();
    stack.extend(wanted.iter().rev().map(|module| (module.clone(), None)));
    while let Some((module, opened)) = stack.pop() {
        if let Some(file) = opened {
            order.push(file);
        } else if seen.insert(module.name.clone())
            && let Some(file) = read(&module)?
        {
            let depends = file.depends.clone();
            stack.push((module, Some(file)));
            stack.extend(depends.into_iter().rev().map(|needed| (needed, None)));
        }
    }
    Ok(order)
}

/// `modules.dep` for `modprobe`, with paths below the modules folder (modules.dep(5)).
pub fn modules_dep(modules: &[ModuleFile]) -> String {
    let path_of = |wanted: &Wanted| {
        let module = modules.iter().find(|module| module.name == wanted.name)?;
        Some(format!(" {}", module.path))
    };
    let line = |module: &ModuleFile| {
        let depends = all_dependencies(module, modules);
        let depends: String = depends.iter().filter_map(path_of).collect();
        format!("{}:{depends}\n", module.path)
    };
    modules.iter().map(line).collect()
}

/// Direct ones first, as modprobe loads the list from its end.
fn all_dependencies(module: &ModuleFile, modules: &[ModuleFile]) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    let mut open = module.depends.clone();
    while !open.is_empty() {
        let next = open.remove(0);
        // One that is needed by a later one moves behind it.
        all.retain(|known| known.name != next.name);
        if let Some(file) = modules.iter().find(|file| file.name == next.name) {
            open.extend(
                file.depends
                    .iter()
                    .filter(|dep| dep.name != module.name)
                    .cloned(),
            );
        }
        all.push(next);
        if all.len() + open.len() > modules.len() * modules.len() + 1 {
            break;
        }
    }
    all
}

/// `modules.alias`, by which the kernel asks for a module itself.
pub fn modules_alias(modules: &[ModuleFile]) -> String {
    let lines = |module: &ModuleFile| -> Vec<String> {
        let line = |alias: &String| format!("alias {alias} {}\n", module.name);
        module.aliases.iter().map(line).collect()
    };
    modules.iter().flat_map(lines).collect()
}

fn walk(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), VmError> {
    for entry in fs::read_dir(folder).map_err(VmError::file("read", folder))? {
        let entry = entry.map_err(VmError::file("read", folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(VmError::file("read", &path))?;
        if kind.is_dir() {
            walk(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The module's name from its file's: `virtio-net.ko.xz` is `virtio_net`.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (stem, suffix) = file.split_once(".ko")?;
    matches!(suffix, "" | ".xz" | ".gz" | ".zst").then(|| normal(stem))
}

fn uncompressed_name(path: &str) -> String {
    match path.rfind(".ko") {
        Some(end) => path[..end + 3].to_owned(),
        None => path.to_owned(),
    }
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, depends: &[&str]) -> ModuleFile {
        ModuleFile {
            name: name.into(),
            path: format!("kernel/{name}.ko"),
            bytes: vec![],
            depends: depends.iter().map(|name| Wanted::needed(name)).collect(),
            aliases: vec![format!("alias-of-{name}")],
        }
    }

    /// virtio is built in here, everything unknown is an error.
    fn tree(wanted: &Wanted) -> Result<Option<ModuleFile>, VmError> {
        let depends: &[&str] = match wanted.name.as_str() {
            "virtio" => return Ok(None),
            "virtio_net" => &["virtio-ring", "virtio", "net_failover"],
            "virtio_ring" => &["virtio"],
            "net_failover" => &["failover"],
            "failover" => &[],
            "ring_a" => &["ring_b"],
            "ring_b" => &["ring_a"],
            _ if wanted.if_present => return Ok(None),
            _ => {
                return Err(VmError::NoModule {
                    release: "6.1".into(),
                    module: wanted.name.clone(),
                });
            }
        };
        Ok(Some(module(&wanted.name, depends)))
    }

    fn order(names: &[&str]) -> Vec<String> {
        let wanted: Vec<Wanted> = names.iter().map(|name| Wanted::needed(name)).collect();
        let order = load_order(&wanted, &mut tree).unwrap();
        order.into_iter().map(|module| module.name).collect()
    }

    #[test]
    fn dependencies_come_before_their_user_and_once() {
        assert_eq!(
            order(&["virtio-net", "net_failover"]),
            ["virtio_ring", "failover", "net_failover", "virtio_net"]
        );
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(order(&["ring_a"]), ["ring_b", "ring_a"]);
    }

    #[test]
    fn a_missing_module_is_an_error_unless_it_is_optional() {
        let missing = load_order(&[Wanted::needed("nfs")], &mut tree).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "kernel 6.1 has no module `nfs`, neither as a file nor built in"
        );
        assert!(
            load_order(&[Wanted::if_present("nfs")], &mut tree)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn names_of_files() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(name("net/virtio-net.ko.xz").as_deref(), Some("virtio_net"));
        assert_eq!(name("crc32c-intel.ko").as_deref(), Some("crc32c_intel"));
        assert_eq!(name("modules.order"), None);
        assert_eq!(name("x.ko.debug"), None);
        assert_eq!(uncompressed_name("kernel/a.ko.xz"), "kernel/a.ko");
    }

    #[test]
    fn soft_dependencies_are_the_ones_before() {
        assert_eq!(
            soft_dependencies("pre: crypto-crc32c a post: b"),
            ["crypto-crc32c", "crc32c_generic", "a", "a_generic"]
        );
        assert!(soft_dependencies("post: b").is_empty());
    }

    #[test]
    fn modprobe_files_list_indirect_dependencies_last() {
        let wanted = [Wanted::needed("virtio_net")];
        let modules = load_order(&wanted, &mut tree).unwrap();
        assert_eq!(
            modules_dep(&modules).lines().last(),
            Some(
                "kernel/virtio_net.ko: kernel/virtio_ring.ko kernel/net_failover.ko kernel/failover.ko"
            )
        );
        assert!(modules_alias(&modules).contains("alias alias-of-failover failover\n"));
    }
}
