//! Segments whose pages the disk does not give back, made readable before they are mapped.
//!
//! A mapping cannot fail: a page that cannot be read is a signal to whoever touches it, and would
//! be one at every start. So every page is read by a call first, which can fail, and a segment with
//! one that is lost gets a file of its own bytes with zeros there. What zeros in that place mean,
//! torn or damaged, is judged with everything else. Never: changes a segment that can be read.

use crate::backend::{Backend, TEMPORARY_SUFFIX};
use crate::create::create_error;
use crate::error::OpenError;
use crate::segment::SEGMENT_BYTES_MAX;

/// Replaces the file of a segment by one that can be read to its end, if it cannot. A crash leaves
/// the one or the other.
///
/// Costs one read of the file in order into a buffer that is used again: from memory where the
/// system holds it, and otherwise the read that the walk would have waited for.
pub(crate) fn make_readable(backend: &dyn Backend, name: &str) -> Result<(), OpenError> {
    let read = backend.read_pages(name, usize::MAX, &mut |_| {});
    let unreadable = read.map_err(OpenError::io("read", name))?;
    if unreadable.is_none_or(|pages| pages.is_empty()) {
        return Ok(());
    }
    let read = backend
        .read_lossy(name, SEGMENT_BYTES_MAX as usize)
        .map_err(OpenError::io("read", name))?;
    let Some((bytes, pages)) = read else {
        return Ok(());
    };
    if bytes.len() > SEGMENT_BYTES_MAX as usize {
        // No segment of any log: it is not worth a copy.
        let error = rustix::io::Errno::IO.into();
        return Err(OpenError::io("read", name)(error));
    }
    tracing::error!(
        name,
        pages = pages.len(),
        first = pages.first().copied(),
        "pages of the log cannot be read: the disk has lost them, and they are zeros from now on"
    );
    let temporary = format!("{name}{TEMPORARY_SUFFIX}");
    if let Err(error) = backend.create(&temporary, &bytes, bytes.len()) {
        // Nothing relies on it; what is left of it the next start removes.
        backend.remove(&temporary).ok();
        return Err(create_error(&temporary, error));
    }
    backend
        .rename(&temporary, name)
        .map_err(OpenError::io("rename", &temporary))?;
    backend.sync_folder().map_err(OpenError::sync(""))
}
