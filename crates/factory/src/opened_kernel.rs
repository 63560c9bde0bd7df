//! A kernel release, ready to be patched: its packages, its prepared tree, its image in memory.

use std::path::Path;
use std::sync::OnceLock;

use suture_differ::object::Object;
use suture_kernel::kallsyms::Kallsyms;
use suture_kernel::symvers::Symvers;
use suture_kernel::vmlinux::Vmlinux;
use suture_kernel::{KernelBuild, KernelRelease, LivepatchAbi, ObjectName};

use crate::command::Log;
use crate::commands::Commands;
use crate::error::FactoryError;
use crate::files;
use crate::headers::Headers;
use crate::link;
use crate::module_link::ModuleLink;
use crate::progress::{Progress, step};
use crate::shipped::ShippedKernel;
use crate::shipped_object::ShippedObject;
use crate::tree::Tree;

/// Where the kernel's headers declare how it takes live patches.
pub(crate) const LIVEPATCH_HEADER: &str = "include/linux/livepatch.h";

pub(crate) struct OpenedKernel {
    pub abi: LivepatchAbi,
    pub shipped: ShippedKernel,
    pub tree: Tree,
    pub commands: Commands,
    /// Read when it is first asked for, which may be while units are compiled.
    image: OnceLock<Vec<u8>>,
    /// Made when a fix edits the first header.
    headers: OnceLock<Headers>,
}

/// What is known of the shipped kernel.
pub(crate) struct Facts<'a> {
    pub build: KernelBuild,
    pub image: Vmlinux<'a>,
    pub kallsyms: Kallsyms,
    pub symvers: Symvers,
    /// The `vermagic` of its modules.
    pub vermagic: String,
}

impl OpenedKernel {
    /// Fetches and prepares what the cache lacks.
    pub fn open(
        release: &KernelRelease,
        cache: &Path,
        log: &Log,
        progress: &dyn Progress,
    ) -> Result<Self, FactoryError> {
        let (archive, shipped) = step(progress, &format!("fetching kernel {release}"), || {
            let archive = ShippedKernel::archive(cache, release, log)?;
            let shipped = ShippedKernel::fetch(cache, &archive, release)?;
            Ok::<_, FactoryError>((archive, shipped))
        })?;
        let tree = step(
            progress,
            &format!("preparing the source of {release}"),
            || Tree::prepare(&shipped, &archive, log),
        )?;
        let abi = livepatch_abi(&shipped, &tree)?;
        let commands = step(progress, "asking Kbuild how it compiles each unit", || {
            Commands::of(&tree, || shipped.module_names(), log)
        })?;
        Ok(Self {
            abi,
            shipped,
            tree,
            commands,
            image: OnceLock::new(),
            headers: OnceLock::new(),
        })
    }

    fn image(&self) -> Result<Vmlinux<'_>, FactoryError> {
        let bytes = match self.image.get() {
            Some(bytes) => bytes,
            None => {
                let bytes = self.shipped.vmlinux()?;
                self.image.get_or_init(|| bytes)
            }
        };
        Vmlinux::parse(bytes).map_err(|error| FactoryError::ShippedKernel {
            release: self.shipped.release.clone(),
            why: error.to_string(),
        })
    }

    /// The tree's files as our own preprocessor reads them.
    pub fn headers(&self, log: &Log) -> &Headers {
        let new = || Headers::new(self.tree.clone(), log.clone());
        self.headers.get_or_init(new)
    }

    /// How Kbuild links a module of this kernel.
    pub fn module_link(&self, log: &Log) -> Result<ModuleLink, FactoryError> {
        ModuleLink::of(&self.tree, self.commands.late_objtool(), log)
    }

    pub fn facts(&self, progress: &dyn Progress) -> Result<Facts<'_>, FactoryError> {
        let shipped = &self.shipped;
        step(
            progress,
            "reading the shipped image and its symbols",
            || {
                let image = self.image()?;
                let vermagic = link::shipped_vermagic(&shipped.modules())?;
                Ok(Facts {
                    build: shipped.build(&image)?,
                    kallsyms: shipped.kallsyms(&image)?,
                    image,
                    symvers: shipped.symvers()?,
                    vermagic: vermagic.ok_or_else(|| FactoryError::PackageIncomplete {
                        release: shipped.release.clone(),
                        what: "module with a vermagic".to_owned(),
                    })?,
                })
            },
        )
    }

    /// The shipped module's file; nothing for the image, which is open already.
    pub fn object_file(&self, object: &ObjectName) -> Result<Vec<u8>, FactoryError> {
        if object.is_vmlinux() {
            Ok(Vec::new())
        } else {
            self.shipped.module(object.as_str())
        }
    }
}

impl Facts<'_> {
    /// The shipped object, of which `file` holds the bytes if it is a module.
    pub fn shipped_object<'a>(
        &'a self,
        object: &ObjectName,
        file: &'a [u8],
    ) -> Result<ShippedObject<'a>, FactoryError> {
        if object.is_vmlinux() {
            return Ok(ShippedObject::Vmlinux {
                image: &self.image,
                kallsyms: &self.kallsyms,
            });
        }
        ShippedObject::module(file).map_err(|why| FactoryError::Differ {
            what: format!("shipped module {object}"),
            why,
        })
    }
}

/// How the kernel takes a live patch; one that takes none that is known is refused.
fn livepatch_abi(shipped: &ShippedKernel, tree: &Tree) -> Result<LivepatchAbi, FactoryError> {
    let header = files::read_text(&tree.path().join(LIVEPATCH_HEADER))?;
    LivepatchAbi::of(&shipped.symvers()?, &header).map_err(|why| FactoryError::UnknownAbi {
        release: shipped.release.clone(),
        why,
    })
}

/// Parses the object of a unit.
pub(crate) fn parse(source: &str, bytes: &[u8]) -> Result<Object, FactoryError> {
    Object::parse(bytes).map_err(|error| FactoryError::Differ {
        what: source.to_owned(),
        why: error.to_string(),
    })
}
