//! How many bytes may still be read.

use std::io::{self, Read};

use thiserror::Error;

/// Bytes that are left, over all members and archives of one import.
pub(super) struct Budget {
    left: u64,
    limit: u64,
}

/// Counts what is read through it.
pub(super) struct Counted<'a, R: ?Sized> {
    budget: &'a mut Budget,
    inner: &'a mut R,
}

#[derive(Debug, Error)]
#[error(
    "it unpacks to more than the {0} bytes that are read of one archive; if it is no trick, \
     import it in parts"
)]
struct Spent(u64);

/// Whether an error came from a budget.
pub(super) fn is_spent(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Spent>())
}

impl Budget {
    pub fn new(limit: u64) -> Self {
        Self { left: limit, limit }
    }

    pub fn reader<'a, R: Read + ?Sized>(&'a mut self, inner: &'a mut R) -> Counted<'a, R> {
        Counted {
            budget: self,
            inner,
        }
    }

    /// Takes bytes that were read elsewhere.
    pub fn spend(&mut self, bytes: u64) -> io::Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(Spent(self.limit))),
        }
        Ok(())
    }
}

impl<R: Read + ?Sized> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.budget.spend(count as u64)?;
        Ok(count)
    }
}
