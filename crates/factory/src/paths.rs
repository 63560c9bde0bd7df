//! Paths below the kernel tree, written in one way.

use std::path::{Component, Path};

/// The path without `.` and `..`; nothing if it leaves the tree.
pub(crate) fn normal(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_the_tree_is_none() {
        assert_eq!(normal(Path::new("./a/../b/x.c")).as_deref(), Some("b/x.c"));
        assert_eq!(normal(Path::new("a/../../x.c")), None);
        assert_eq!(normal(Path::new("/x.c")), None);
    }
}
