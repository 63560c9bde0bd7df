//! A kernel release, ready to be patched: its packages, its prepared tree, its image in memory.

use std::path::Path;

use suture_differ::object::Object;
use suture_kernel::kallsyms::Kallsyms;
use suture_kernel::symvers::Symvers;
use suture_kernel::vmlinux::Vmlinux;
use suture_kernel::{KernelBuild, KernelRelease, ObjectName};

use crate::command::Log;
use crate::commands::Commands;
use crate::error::FactoryError;
use crate::link;
use crate::progress::{Progress, step};
use crate::shipped::ShippedKernel;
use crate::shipped_object::ShippedObject;
use crate::tree::Tree;

pub(crate) struct OpenedKernel {
    pub shipped: ShippedKernel,
    pub tree: Tree,
    pub commands: Commands,
    image: Vec<u8>,
}

/// What is known of the shipped kernel.
pub(crate) struct Facts<'a> {
    pub build: KernelBuild,
    pub image: &'a Vmlinux<'a>,
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
        let commands = step(progress, "asking Kbuild how it compiles each unit", || {
            Commands::of(&tree, || shipped.module_names(), log)
        })?;
        let image = step(progress, "reading the shipped image", || shipped.vmlinux())?;
        Ok(Self {
            shipped,
            tree,
            commands,
            image,
        })
    }

    pub fn image(&self) -> Result<Vmlinux<'_>, FactoryError> {
        Vmlinux::parse(&self.image).map_err(|error| FactoryError::ShippedKernel {
            release: self.shipped.release.clone(),
            why: error.to_string(),
        })
    }

    pub fn facts<'image>(
        &self,
        image: &'image Vmlinux<'image>,
        progress: &dyn Progress,
    ) -> Result<Facts<'image>, FactoryError> {
        let shipped = &self.shipped;
        step(progress, "reading the shipped symbols", || {
            let vermagic = link::shipped_vermagic(&shipped.modules())?;
            Ok(Facts {
                build: shipped.build(image)?,
                image,
                kallsyms: shipped.kallsyms(image)?,
                symvers: shipped.symvers()?,
                vermagic: vermagic.ok_or_else(|| FactoryError::PackageIncomplete {
                    release: shipped.release.clone(),
                    what: "module with a vermagic".to_owned(),
                })?,
            })
        })
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
                image: self.image,
                kallsyms: &self.kallsyms,
            });
        }
        ShippedObject::module(file).map_err(|why| FactoryError::Differ {
            what: format!("shipped module {object}"),
            why,
        })
    }
}

/// Parses the object of a unit.
pub(crate) fn parse(source: &str, bytes: &[u8]) -> Result<Object, FactoryError> {
    Object::parse(bytes).map_err(|error| FactoryError::Differ {
        what: source.to_owned(),
        why: error.to_string(),
    })
}
